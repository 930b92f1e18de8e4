"""Simple policy optimization (SPO): a quadratic penalty on the ratio instead of a clip, so that no token is let go.

    loss = -(r A - |A| / (2 epsilon) (r - 1)^2),   r = exp(log_probs - old_log_probs)

The loss is least at r = 1 + epsilon where A > 0 and at r = 1 - epsilon where A < 0. On the way there the gradient fades;
past it, where a clip gives none and other tokens' updates may carry the ratio further, it turns and pulls the token back.

Source: SPO, arXiv:2401.16025. Config: ``clip_strategy=simple_policy_optimization``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from rltoolkit.clip_strategy.base import TokenLoss, masked_log_ratio
from rltoolkit.component import check, check_tokens
from rltoolkit.registry import register


@register("clip_strategy", "simple_policy_optimization")
@dataclass(frozen=True, kw_only=True)
class SimplePolicyOptimization:
    """A trust region that holds by itself.

    Args:
        epsilon: how far from 1 the ratio is best; in (0, 1), since from 1 on a token with A < 0 has no best ratio.
    """

    scope: ClassVar[str] = "token"

    epsilon: float = 0.2

    def __post_init__(self) -> None:
        check(self, "epsilon", 0 < self.epsilon < 1, "in (0, 1)")

    def __call__(self, log_probs: Tensor, old_log_probs: Tensor, advantages: Tensor, mask: Tensor) -> TokenLoss:
        """All arguments [N, T]; the marks say which tokens are past their best ratio: those are pulled back."""
        check_tokens(self, log_probs=log_probs, old_log_probs=old_log_probs, advantages=advantages, mask=mask)
        ratio = masked_log_ratio(log_probs, old_log_probs, mask).exp()
        penalty = advantages.abs() / (2 * self.epsilon) * (ratio - 1) ** 2
        return TokenLoss(
            loss=torch.where(mask, penalty - ratio * advantages, 0.0),
            clipped_low=mask & (ratio < 1 - self.epsilon) & (advantages < 0),
            clipped_high=mask & (ratio > 1 + self.epsilon) & (advantages > 0),
        )
