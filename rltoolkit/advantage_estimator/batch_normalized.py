"""Batch-normalized: the mean of the group, the deviation of the whole rollout batch.

    A_i = (R_i - mean over the group of R) / (std over the batch of R + eps)

One scale for all prompts: those that are nearly solved or nearly hopeless do not get large advantages from a small deviation
of their own. The deviation is Bessel-corrected.

Source: Lite PPO, arXiv:2508.08221 (group mean, batch deviation). Config: ``advantage_estimator=batch_normalized``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from rltoolkit.advantage_estimator.base import advantage, checked_rewards, counted_rows, deviation, mean
from rltoolkit.component import check
from rltoolkit.registry import register

if TYPE_CHECKING:
    from tensordict import TensorDict
    from torch import Tensor


@register("advantage_estimator", "batch_normalized")
@dataclass(frozen=True, kw_only=True)
class BatchNormalized:
    """Must see the whole rollout batch: a part of it has another deviation.

    Args:
        eps: added to the deviation, above 0.
        exclude_masked: rows without a trained token leave mean and deviation too, and get 0.
    """

    min_group_size: ClassVar[int] = 2
    reads_reward: ClassVar[bool] = True
    eps: float = 1e-6
    exclude_masked: bool = False

    def __post_init__(self) -> None:
        check(self, "eps", self.eps > 0, "above 0")

    def __call__(self, rollouts: TensorDict) -> Tensor:
        """rollouts [P, G] with ``reward`` -> float32 [P, G]. Raises ValueError for a reward that is not finite."""
        reward, counted = checked_rewards(self, rollouts), counted_rows(rollouts, self.exclude_masked)
        batch_deviation = deviation(reward - mean(reward, counted, dim=(0, 1)), counted, dim=(0, 1))
        return advantage((reward - mean(reward, counted)) / (batch_deviation + self.eps), counted)
