"""Optimal baseline (OPO): the group's mean, weighted by length.

    A_i = R_i - (sum over j of l_j R_j) / (sum over j of l_j)

l_j is the length of response j in tokens. If the squared norm of a response's gradient is proportional to its
length, this is the baseline with the least variance.

Source: OPO, arXiv:2505.23585. Config: ``advantage_estimator=optimal_baseline``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from rltoolkit.advantage_estimator.base import advantage, checked_rewards, counted_rows
from rltoolkit.registry import register

if TYPE_CHECKING:
    from tensordict import TensorDict
    from torch import Tensor


@register("advantage_estimator", "optimal_baseline")
@dataclass(frozen=True, kw_only=True)
class OptimalBaseline:
    """With equal lengths it is ``group_centered``.

    Args:
        exclude_masked: rows without a trained token leave the baseline too, and get 0.
    """

    min_group_size: ClassVar[int] = 2
    reads_reward: ClassVar[bool] = True
    exclude_masked: bool = False

    def __call__(self, rollouts: TensorDict) -> Tensor:
        """rollouts [P, G] with ``reward`` and ``response_length`` -> float32 [P, G].

        Raises:
            ValueError: a reward is not finite.
        """
        reward, counted = checked_rewards(self, rollouts), counted_rows(rollouts, self.exclude_masked)
        length = rollouts["response_length"].double()
        # Dividing the two sums, rather than weighting by shares, cancels equal rewards to exactly 0.
        weighted = torch.where(counted, length * reward, 0).sum(1, keepdim=True)
        total = torch.where(counted, length, 0).sum(1, keepdim=True).clamp(min=1)
        return advantage(reward - weighted / total, counted)
