"""Geometric mask: drops a response whose tokens are, on average, too likely or too unlikely under the trainer.

    weight = 1 where low <= g <= high, else 0,   g = exp(mean over the row of (old_log_probs - rollout_log_probs))

g is the geometric mean of the row's token ratios. ``sequence_mask`` bounds their product, whose size grows with the response's
length; one pair of bounds on the mean serves short and long responses, so it can be tight. What is kept has weight 1: the bounds
already hold its ratios close to 1. Both sides are bounded, since both are signs of a mismatch.

Source: Liu et al., "When speed kills stability: demystifying RL collapse from the training-inference mismatch", 2025
(geometric sequence masking). Config: ``importance_correction=geometric_mask``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rltoolkit.component import check, check_tokens
from rltoolkit.importance_correction.base import log_rho, row_mean
from rltoolkit.registry import register

if TYPE_CHECKING:
    from torch import Tensor


@register("importance_correction", "geometric_mask")
@dataclass(frozen=True, kw_only=True)
class GeometricMask:
    """1 for the tokens of responses within [low, high], 0 for all others.

    Args:
        low: lower bound of the geometric mean ratio; in (0, 1].
        high: upper bound; at least 1, inf for none.
    """

    low: float = 0.99
    high: float = 1.01

    def __post_init__(self) -> None:
        check(self, "low", 0 < self.low <= 1, "in (0, 1]")
        check(self, "high", self.high >= 1, "at least 1")

    def __call__(self, old_log_probs: Tensor, rollout_log_probs: Tensor, mask: Tensor) -> Tensor:
        """All [N, T]; see ``ImportanceCorrection``."""
        check_tokens(self, old_log_probs=old_log_probs, rollout_log_probs=rollout_log_probs, mask=mask)
        ratio = row_mean(log_rho(old_log_probs, rollout_log_probs, mask), mask).exp()
        return (mask & (ratio >= self.low) & (ratio <= self.high)).to(old_log_probs.dtype)
