"""Reward spread: keep the groups whose rewards differ, for rewards that are not a verdict.

    keep iff max_i R_i - min_i R_i > min_spread

It reads the reward as the shapers leave it. Where there is a verdict, use ``dynamic_sampling``: after a length penalty every
group has a spread, even one that is all wrong. The spread is compared, since rounding can make a deviation of equal rewards positive.

Source: DAPO, arXiv:2503.14476, section 3.2 (the zero-variance test), for rewards on a scale.
Config: ``sampler_filter=[reward_spread]``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from rltoolkit.component import check
from rltoolkit.registry import register

if TYPE_CHECKING:
    from tensordict import TensorDict
    from torch import Tensor


@register("sampler_filter", "reward_spread")
@dataclass(frozen=True, kw_only=True)
class RewardSpread:
    """For graded rewards.

    Args:
        min_spread: spreads up to this one are dropped, in units of reward, at least 0.
    """

    min_group_size: ClassVar[int] = 2
    min_spread: float = 0.0

    def __post_init__(self) -> None:
        check(self, "min_spread", self.min_spread >= 0, "at least 0")

    def __call__(self, rollouts: TensorDict) -> Tensor:
        """rollouts [P, G] with ``reward`` -> bool [P]."""
        reward = rollouts["reward"]
        return reward.amax(1) - reward.amin(1) > self.min_spread
