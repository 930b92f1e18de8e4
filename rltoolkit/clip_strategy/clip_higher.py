"""Clip-Higher: a ceiling further out than the floor, so that unlikely tokens can still grow.

    loss = -min(r A, clip(r, 1 - epsilon_low, 1 + epsilon_high) A),   r = exp(log_probs - old_log_probs)

Source: DAPO, arXiv:2503.14476, section 3.1, eq. 10. Config: ``clip_strategy=clip_higher``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from rltoolkit.clip_strategy.base import TokenLoss, clipped_surrogate, masked_log_ratio
from rltoolkit.component import check, check_tokens
from rltoolkit.registry import register

if TYPE_CHECKING:
    from torch import Tensor


@register("clip_strategy", "clip_higher")
@dataclass(frozen=True, kw_only=True)
class ClipHigher:
    """DAPO's first technique: separate lower and upper bounds.

    Args:
        epsilon_low: the ratio's floor is 1 - epsilon_low; in [0, 1).
        epsilon_high: the ratio's ceiling is 1 + epsilon_high; at least 0.
    """

    scope: ClassVar[str] = "token"

    epsilon_low: float = 0.2
    epsilon_high: float = 0.28

    def __post_init__(self) -> None:
        check(self, "epsilon_low", 0 <= self.epsilon_low < 1, "in [0, 1)")
        check(self, "epsilon_high", self.epsilon_high >= 0, "at least 0")

    def __call__(self, log_probs: Tensor, old_log_probs: Tensor, advantages: Tensor, mask: Tensor) -> TokenLoss:
        """All arguments [N, T]; see ``TokenLoss`` for what comes back."""
        check_tokens(self, log_probs=log_probs, old_log_probs=old_log_probs, advantages=advantages, mask=mask)
        ratio = masked_log_ratio(log_probs, old_log_probs, mask).exp()
        return clipped_surrogate(ratio, advantages, mask, 1 - self.epsilon_low, 1 + self.epsilon_high)
