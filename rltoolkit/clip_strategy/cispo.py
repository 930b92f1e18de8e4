"""CISPO: truncate the importance weight instead of the update, so that every token keeps a gradient.

    loss = -stop_gradient(clip(r, 1 - epsilon_low, 1 + epsilon_high)) A log_probs

Source: MiniMax-M1, arXiv:2506.13585, section 3.1, eq. 4 and 5. Config: ``clip_strategy=cispo``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from rltoolkit.clip_strategy.base import TokenLoss, masked_log_ratio
from rltoolkit.component import check, check_tokens
from rltoolkit.registry import register

if TYPE_CHECKING:
    from torch import Tensor


@register("clip_strategy", "cispo")
@dataclass(frozen=True, kw_only=True)
class CISPO:
    """Clipped importance-sampling weights on the log-likelihood.

    Args:
        epsilon_low: the weight's floor is 1 - epsilon_low; in [0, 1]. The default sets no floor, as the paper does.
        epsilon_high: the weight's ceiling is 1 + epsilon_high; at least 0. The paper tunes it and gives no number; the
            default is ScaleRL's ceiling of 5 (arXiv:2510.13786).
    """

    scope: ClassVar[str] = "token"

    epsilon_low: float = 1.0
    epsilon_high: float = 4.0

    def __post_init__(self) -> None:
        check(self, "epsilon_low", 0 <= self.epsilon_low <= 1, "in [0, 1]")
        check(self, "epsilon_high", self.epsilon_high >= 0, "at least 0")

    def __call__(self, log_probs: Tensor, old_log_probs: Tensor, advantages: Tensor, mask: Tensor) -> TokenLoss:
        """All arguments [N, T]; the marks say which weights were truncated, below or above. Those tokens keep a gradient."""
        check_tokens(self, log_probs=log_probs, old_log_probs=old_log_probs, advantages=advantages, mask=mask)
        ratio = masked_log_ratio(log_probs.detach(), old_log_probs, mask).exp()
        floor, ceiling = 1 - self.epsilon_low, 1 + self.epsilon_high
        weighted = -ratio.clamp(floor, ceiling) * advantages * torch.where(mask, log_probs, 0.0)
        return TokenLoss(
            loss=torch.where(mask, weighted, 0.0),
            clipped_low=mask & (ratio < floor),
            clipped_high=mask & (ratio > ceiling),
        )
