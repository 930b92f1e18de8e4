"""Leave-one-out (RLOO): how far a response is above the mean of the others in its group.

    A_i = R_i - (sum over j != i of R_j) / (G - 1)

The baseline does not contain the response itself, so the gradient is unbiased. The advantage is G / (G - 1) times that of
``group_centered``.

Source: RLOO, arXiv:2402.14740; Kool et al., 2019. Config: ``advantage_estimator=leave_one_out``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from rltoolkit.advantage_estimator.base import advantage, checked_rewards, counted_rows, mean
from rltoolkit.registry import register

if TYPE_CHECKING:
    from tensordict import TensorDict
    from torch import Tensor


@register("advantage_estimator", "leave_one_out")
@dataclass(frozen=True, kw_only=True)
class LeaveOneOut:
    """REINFORCE with the other responses as the baseline.

    Args:
        exclude_masked: rows without a trained token leave the mean of the others, and get 0.
    """

    min_group_size: ClassVar[int] = 2
    reads_reward: ClassVar[bool] = True
    exclude_masked: bool = False

    def __call__(self, rollouts: TensorDict) -> Tensor:
        """rollouts [P, G] with ``reward`` -> float32 [P, G]. Raises ValueError for a reward that is not finite."""
        reward, counted = checked_rewards(self, rollouts), counted_rows(rollouts, self.exclude_masked)
        count = counted.sum(1, keepdim=True)
        return advantage((reward - mean(reward, counted)) * count / (count - 1).clamp(min=1), counted)
