"""Dual clip: Clip-Higher with a third bound, which limits the loss of a token with A < 0 and a very large ratio.

    loss = -min(r A, clip(r, 1 - epsilon_low, 1 + epsilon_high) A)   and at most -c A where A < 0

Without it the loss of a token with A < 0 grows with r, because the ceiling only acts where A > 0.

Source: Ye et al., arXiv:1912.09729, section "Dual-clip PPO", eq. 5. Config: ``clip_strategy=dual_clip``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from rltoolkit.clip_strategy.base import TokenLoss, clipped_surrogate, masked_log_ratio
from rltoolkit.component import check, check_tokens
from rltoolkit.registry import register

if TYPE_CHECKING:
    from torch import Tensor


@register("clip_strategy", "dual_clip")
@dataclass(frozen=True, kw_only=True)
class DualClip:
    """Clip-Higher whose loss is also bounded for negative advantages.

    Args:
        epsilon_low: the ratio's floor is 1 - epsilon_low; in [0, 1).
        epsilon_high: the ratio's ceiling for A > 0 is 1 + epsilon_high; at least 0.
        c: the ratio's ceiling for A < 0; above 1 (DAPO's released script: 10).
    """

    scope: ClassVar[str] = "token"

    epsilon_low: float = 0.2
    epsilon_high: float = 0.28
    c: float = 3.0

    def __post_init__(self) -> None:
        check(self, "epsilon_low", 0 <= self.epsilon_low < 1, "in [0, 1)")
        check(self, "epsilon_high", self.epsilon_high >= 0, "at least 0")
        check(self, "c", self.c > 1, "above 1")

    def __call__(self, log_probs: Tensor, old_log_probs: Tensor, advantages: Tensor, mask: Tensor) -> TokenLoss:
        """All arguments [N, T]; ``clipped_low`` also marks the tokens that c holds back."""
        check_tokens(self, log_probs=log_probs, old_log_probs=old_log_probs, advantages=advantages, mask=mask)
        ratio = masked_log_ratio(log_probs, old_log_probs, mask).exp()
        surrogate = clipped_surrogate(ratio, advantages, mask, 1 - self.epsilon_low, 1 + self.epsilon_high)
        capped = mask & (ratio > self.c) & (advantages < 0)
        return TokenLoss(
            loss=torch.where(capped, -self.c * advantages, surrogate.loss),
            clipped_low=surrogate.clipped_low | capped,
            clipped_high=surrogate.clipped_high,
        )
