"""Group-centered (Dr. GRPO): how far a response is above the mean of its group, in units of reward.

    A_i = R_i - mean(R)

R holds the rewards of the G responses to one prompt. Without the division by the deviation, prompts that are nearly solved or
nearly hopeless do not weigh more than others.

Source: Dr. GRPO, arXiv:2503.20783, section 3.2. Config: ``advantage_estimator=group_centered``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from rltoolkit.advantage_estimator.base import advantage, checked_rewards, counted_rows, mean
from rltoolkit.registry import register

if TYPE_CHECKING:
    from tensordict import TensorDict
    from torch import Tensor


@register("advantage_estimator", "group_centered")
@dataclass(frozen=True, kw_only=True)
class GroupCentered:
    """GRPO without the deviation.

    Args:
        exclude_masked: rows without a trained token leave the group's mean too, and get 0.
    """

    min_group_size: ClassVar[int] = 2
    reads_reward: ClassVar[bool] = True
    exclude_masked: bool = False

    def __call__(self, rollouts: TensorDict) -> Tensor:
        """rollouts [P, G] with ``reward`` -> float32 [P, G]. Raises ValueError for a reward that is not finite."""
        reward, counted = checked_rewards(self, rollouts), counted_rows(rollouts, self.exclude_masked)
        return advantage(reward - mean(reward, counted), counted)
