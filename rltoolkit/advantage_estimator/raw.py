"""Raw (REINFORCE): the reward itself, without a baseline.

    A_i = R_i

The gradient is unbiased but noisy. This is what baselines are compared with.

Source: REINFORCE, 1992 (Williams). Config: ``advantage_estimator=raw``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from rltoolkit.advantage_estimator.base import checked_rewards
from rltoolkit.registry import register

if TYPE_CHECKING:
    from tensordict import TensorDict
    from torch import Tensor


@register("advantage_estimator", "raw")
@dataclass(frozen=True, kw_only=True)
class Raw:
    """Works with any group size."""

    min_group_size: ClassVar[int] = 1
    reads_reward: ClassVar[bool] = True

    def __call__(self, rollouts: TensorDict) -> Tensor:
        """rollouts [P, G] with ``reward`` -> float32 [P, G]. Raises ValueError for a reward that is not finite."""
        return checked_rewards(self, rollouts).float()
