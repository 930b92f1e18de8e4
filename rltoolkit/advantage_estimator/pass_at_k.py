"""Pass@k training: a response is worth what it adds to the chance that one of k is correct.

    S = 1 - C(W, k) / C(G, k),   D = sqrt(S (1 - S))
    A_correct = (1 - S) / D,   A_wrong = (1 - S - C(W - 1, k - 1) / C(G - 1, k - 1)) / D

W of the G responses to one prompt are wrong; S is the share of the subsets of k with a correct response, D its deviation, and a
response's advantage the mean of its subsets' normalised rewards. Once W < k every subset passes: S = 1, D = 0, all get 0. With
k = 1 it is the group-normalized estimator with the population's deviation. It reads ``correct``: reward shapers have no effect.

Source: Pass@k Training, arXiv:2508.10751, section 2.4 (analytical derivation). Config: ``advantage_estimator=pass_at_k``.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import comb, sqrt
from typing import TYPE_CHECKING, ClassVar

import torch

from rltoolkit.advantage_estimator.base import advantage, check_group_size, counted_rows
from rltoolkit.component import check
from rltoolkit.registry import register

if TYPE_CHECKING:
    from tensordict import TensorDict
    from torch import Tensor


@register("advantage_estimator", "pass_at_k")
@dataclass(frozen=True, kw_only=True)
class PassAtK:
    """Rewards exploration: a prompt stops training as soon as fewer than k responses are wrong.

    Args:
        k: size of a subset, from 1 to the group size.
        exclude_masked: rows without a trained token are in no subset, and get 0.
    """

    reads_reward: ClassVar[bool] = False
    k: int = 4
    exclude_masked: bool = False

    def __post_init__(self) -> None:
        check(self, "k", self.k >= 1, "at least 1")

    @property
    def min_group_size(self) -> int:
        """k, and 2 at least."""
        return max(2, self.k)

    def __call__(self, rollouts: TensorDict) -> Tensor:
        """rollouts [P, G] with ``correct`` -> float32 [P, G]. Raises ValueError where G is below k."""
        check_group_size(self, rollouts)
        correct, counted = rollouts["correct"], counted_rows(rollouts, self.exclude_masked)
        sizes, wrong = counted.sum(1).tolist(), (counted & ~correct).sum(1).tolist()
        values = torch.tensor([self._values(g, w) for g, w in zip(sizes, wrong, strict=True)], dtype=torch.float64)
        of_correct, of_wrong = values.to(correct.device).split(1, dim=1)
        return advantage(torch.where(correct, of_correct, of_wrong), counted)

    def _values(self, size: int, wrong: int) -> tuple[float, float]:
        """(A_correct, A_wrong) in a group of ``size`` responses; binomials are exact integers."""
        k = self.k
        if not k <= wrong < size:
            return 0.0, 0.0
        failing = comb(wrong, k) / comb(size, k)
        deviation = sqrt(failing * (1 - failing))
        return failing / deviation, (failing - comb(wrong - 1, k - 1) / comb(size - 1, k - 1)) / deviation
