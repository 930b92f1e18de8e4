"""GSPO: one ratio for the whole response, the geometric mean of its tokens' ratios, clipped as one.

    loss = -min(s A, clip(s, 1 - epsilon_low, 1 + epsilon_high) A),   s = exp(sum over the row of log r / |o|)

Each token carries its row's loss; the paper's objective averages over responses, that is ``loss_aggregator=sequence_mean``.
The bounds are hundreds of times tighter than those for a token, because the mean over a row varies much less.

Source: GSPO, arXiv:2507.18071, section 4.1, eq. 5 to 7; bounds from section 5.1. Config: ``clip_strategy=gspo``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from rltoolkit.clip_strategy.base import TokenLoss, clipped_surrogate, masked_log_ratio, row_mean
from rltoolkit.component import check, check_tokens
from rltoolkit.registry import register

if TYPE_CHECKING:
    from torch import Tensor


@register("clip_strategy", "gspo")
@dataclass(frozen=True, kw_only=True)
class GSPO:
    """Clip-Higher on the length-normalised ratio of the response.

    Args:
        epsilon_low: the ratio's floor is 1 - epsilon_low; in [0, 1).
        epsilon_high: the ratio's ceiling is 1 + epsilon_high; at least 0.
    """

    scope: ClassVar[str] = "row"

    epsilon_low: float = 3e-4
    epsilon_high: float = 4e-4

    def __post_init__(self) -> None:
        check(self, "epsilon_low", 0 <= self.epsilon_low < 1, "in [0, 1)")
        check(self, "epsilon_high", self.epsilon_high >= 0, "at least 0")

    def __call__(self, log_probs: Tensor, old_log_probs: Tensor, advantages: Tensor, mask: Tensor) -> TokenLoss:
        """All arguments [N, T]; a row's tokens are clipped together wherever they share one advantage."""
        check_tokens(self, log_probs=log_probs, old_log_probs=old_log_probs, advantages=advantages, mask=mask)
        # A row's gradient sums over its tokens, so a nan at a masked token would reach the others: mask first.
        advantages = torch.where(mask, advantages, 0.0)
        ratio = row_mean(masked_log_ratio(log_probs, old_log_probs, mask), mask).exp()
        return clipped_surrogate(ratio, advantages, mask, 1 - self.epsilon_low, 1 + self.epsilon_high)
