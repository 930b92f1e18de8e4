"""GSPO-token: the value of GSPO's response ratio with the gradient of each token's own ratio; advantages may vary over tokens.

    loss = -min(s_t A, clip(s_t, 1 - epsilon_low, 1 + epsilon_high) A)
    s_t = stop_gradient(s) * exp(log_probs - stop_gradient(log_probs)),   s = exp(sum over the row of log r / |o|)

Where a row has one advantage and equal weights, loss and gradient are those of ``gspo``.

Source: GSPO, arXiv:2507.18071, section 4.3, eq. 13 and 14. Config: ``clip_strategy=gspo_token``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from rltoolkit.clip_strategy.base import TokenLoss, clipped_surrogate, masked_log_ratio, row_mean
from rltoolkit.component import check, check_tokens
from rltoolkit.registry import register

if TYPE_CHECKING:
    from torch import Tensor


@register("clip_strategy", "gspo_token")
@dataclass(frozen=True, kw_only=True)
class GSPOToken:
    """GSPO with a gradient for each token.

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
        """All arguments [N, T]; see ``TokenLoss`` for what comes back."""
        check_tokens(self, log_probs=log_probs, old_log_probs=old_log_probs, advantages=advantages, mask=mask)
        row_ratio = row_mean(masked_log_ratio(log_probs.detach(), old_log_probs, mask), mask).exp()
        ratio = row_ratio * masked_log_ratio(log_probs, log_probs.detach(), mask).exp()
        return clipped_surrogate(ratio, advantages, mask, 1 - self.epsilon_low, 1 + self.epsilon_high)
