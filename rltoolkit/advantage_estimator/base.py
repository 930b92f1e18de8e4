"""The contract of an advantage estimator: how much better each response was than what could be expected."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import torch

from rltoolkit.component import label

if TYPE_CHECKING:
    from tensordict import TensorDict
    from torch import Tensor


class AdvantageEstimator(Protocol):
    """``estimator(rollouts [P, G]) -> advantage``, float32 [P, G], or [P, G, T] where tokens differ.

    One call sees all groups of a rollout step, so statistics over the whole batch are possible. One that reads ``teacher_log_probs``
    names the teacher in an attribute ``teacher``: a directory, or a name on the Hugging Face hub.
    """

    @property
    def reads_reward(self) -> bool:
        """False where the verdicts alone decide. A shaper that changes the reward would then do nothing, and such a run is refused."""

    @property
    def min_group_size(self) -> int:
        """The smallest G for which the estimate means anything (2 where the group is the baseline)."""
        ...

    def __call__(self, rollouts: TensorDict) -> Tensor:
        """The advantages of all responses [P, G]. Raises ValueError where G is smaller than ``min_group_size``."""
        ...


def checked_rewards(estimator: AdvantageEstimator, rollouts: TensorDict) -> Tensor:
    """``reward`` as float64 [P, G]. In float64 the mean of equal float32 rewards is exactly that reward, so they cancel to 0.

    Raises:
        ValueError: a reward is NaN or infinite, or the group is smaller than ``min_group_size``.
    """
    check_group_size(estimator, rollouts)
    reward = rollouts["reward"].double()
    if not reward.isfinite().all():
        p, g = (~reward.isfinite()).nonzero()[0].tolist()
        raise ValueError(f"{label(estimator)}: 'reward' must be finite, but prompt {p}, response {g} has {reward[p, g].item()}")
    return reward


def check_group_size(estimator: AdvantageEstimator, rollouts: TensorDict) -> None:
    """Raise ValueError where the group is smaller than ``min_group_size``."""
    size = rollouts.shape[1]
    if size < estimator.min_group_size:
        raise ValueError(f"{label(estimator)}: group size {size} is too small, at least {estimator.min_group_size} is needed")


def counted_rows(rollouts: TensorDict, exclude_masked: bool) -> Tensor:
    """bool [P, G]: the rows that enter the statistics, all of them or those with a trained token in ``loss_mask``."""
    if exclude_masked:
        return rollouts["loss_mask"].any(-1)
    return torch.ones_like(rollouts["reward"], dtype=torch.bool)


def mean(values: Tensor, counted: Tensor, dim: int | tuple[int, ...] = 1) -> Tensor:
    """Mean of the counted rows, over each group ([P, 1]) or with ``dim=(0, 1)`` over the step ([1, 1]); 0 where there is none."""
    return torch.where(counted, values, 0).sum(dim, keepdim=True) / counted.sum(dim, keepdim=True).clamp(min=1)


def deviation(centered: Tensor, counted: Tensor, dim: int | tuple[int, ...] = 1, bessel: bool = True) -> Tensor:
    """Root mean square of the counted rows of ``centered``, shaped as ``mean``; ``bessel`` divides by their number less one."""
    squares = torch.where(counted, centered, 0).square().sum(dim, keepdim=True)
    return (squares / (counted.sum(dim, keepdim=True) - int(bessel)).clamp(min=1)).sqrt()


def advantage(values: Tensor, counted: Tensor) -> Tensor:
    """float32 [P, G]: ``values``, and exactly 0 for rows that do not count."""
    return torch.where(counted, values, 0).float()
