"""The contract of an advantage estimator: how much better each response was than what could be expected."""

from __future__ import annotations

from typing import Protocol

from tensordict import TensorDict
from torch import Tensor


class AdvantageEstimator(Protocol):
    """``estimator(rollouts [P, G]) -> advantage``, float32 [P, G], or [P, G, T] where tokens differ.

    ``min_group_size`` is the smallest G for which the estimate means anything (2 where the group is the baseline).
    """

    min_group_size: int

    def __call__(self, rollouts: TensorDict) -> Tensor: ...
