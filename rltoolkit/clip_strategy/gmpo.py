"""GMPO: the geometric mean of the tokens' clipped ratios, so that one outlier changes its response's loss only a little.

    loss = -A exp(sum over the row of l_t / |o|)
    l_t = min(log r_t, epsilon_high) where A > 0,   max(log r_t, -epsilon_low) where A < 0

Unlike ``gspo`` each token is clipped before the mean is taken, so the others keep their gradient.
Each token carries its row's loss; the paper averages over responses, that is ``loss_aggregator=sequence_mean``.

Source: GMPO, arXiv:2507.20673, section 3, eq. 4; so are the bounds, (e^-0.4, e^0.4). Config: ``clip_strategy=gmpo``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from rltoolkit.clip_strategy.base import TokenLoss, masked_log_ratio, row_mean
from rltoolkit.component import check, check_tokens
from rltoolkit.registry import register

if TYPE_CHECKING:
    from torch import Tensor


@register("clip_strategy", "gmpo")
@dataclass(frozen=True, kw_only=True)
class GMPO:
    """Token-level clip in log space, then the geometric mean over the response.

    Args:
        epsilon_low: the log-ratio's floor is -epsilon_low; at least 0.
        epsilon_high: the log-ratio's ceiling is epsilon_high; at least 0.
    """

    scope: ClassVar[str] = "row"

    epsilon_low: float = 0.4
    epsilon_high: float = 0.4

    def __post_init__(self) -> None:
        check(self, "epsilon_low", self.epsilon_low >= 0, "at least 0")
        check(self, "epsilon_high", self.epsilon_high >= 0, "at least 0")

    def __call__(self, log_probs: Tensor, old_log_probs: Tensor, advantages: Tensor, mask: Tensor) -> TokenLoss:
        """All arguments [N, T]; the advantages of a row share one sign."""
        check_tokens(self, log_probs=log_probs, old_log_probs=old_log_probs, advantages=advantages, mask=mask)
        # A row's gradient sums over its tokens, so a nan at a masked token would reach the others: mask first.
        advantages = torch.where(mask, advantages, 0.0)
        log_ratio = masked_log_ratio(log_probs, old_log_probs, mask)
        low = (log_ratio < -self.epsilon_low) & (advantages < 0)
        high = (log_ratio > self.epsilon_high) & (advantages > 0)
        bounded = log_ratio.masked_fill(low, -self.epsilon_low).masked_fill(high, self.epsilon_high)
        return TokenLoss(-advantages * row_mean(bounded, mask).exp(), clipped_low=low, clipped_high=high)
