"""REINFORCE++ with a baseline: the group's mean first, then the deviation of what is left, over the whole rollout batch.

    C_i = R_i - mean over the group of R
    A_i = C_i / (std over the batch of C + eps)

The mean of C over the batch is 0, so the paper's second centring has nothing to take away. The deviation is Bessel-corrected.

Source: REINFORCE++, arXiv:2501.03262 (REINFORCE++ with baseline).
Config: ``advantage_estimator=reinforce_plus_plus_baseline``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from rltoolkit.advantage_estimator.base import Scope, advantage, checked_rewards, counted_rows, deviation, mean
from rltoolkit.component import check
from rltoolkit.registry import register

if TYPE_CHECKING:
    from tensordict import TensorDict
    from torch import Tensor


@register("advantage_estimator", "reinforce_plus_plus_baseline")
@dataclass(frozen=True, kw_only=True)
class ReinforcePlusPlusBaseline:
    """Must see the whole rollout batch: a part of it has another deviation.

    Args:
        eps: added to the deviation, above 0.
        exclude_masked: rows without a trained token leave mean and deviation too, and get 0.
    """

    min_group_size: ClassVar[int] = 2
    scope: ClassVar[Scope] = "step"
    reads_reward: ClassVar[bool] = True
    eps: float = 1e-6
    exclude_masked: bool = False

    def __post_init__(self) -> None:
        check(self, "eps", self.eps > 0, "above 0")

    def __call__(self, rollouts: TensorDict) -> Tensor:
        """rollouts [P, G] with ``reward`` -> float32 [P, G]. Raises ValueError for a reward that is not finite."""
        reward, counted = checked_rewards(self, rollouts), counted_rows(rollouts, self.exclude_masked)
        centered = reward - mean(reward, counted)
        return advantage(centered / (deviation(centered, counted, dim=(0, 1)) + self.eps), counted)
