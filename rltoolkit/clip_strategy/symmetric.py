"""Symmetric clip (PPO): no gradient for a token whose ratio to the old policy has left [1 - epsilon, 1 + epsilon].

    loss = -min(r A, clip(r, 1 - epsilon, 1 + epsilon) A),   r = exp(log_probs - old_log_probs)

Source: PPO, arXiv:1707.06347, section 3, eq. 7; GRPO, arXiv:2402.03300, eq. 3 (per token).
Config: ``clip_strategy=symmetric``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from rltoolkit.clip_strategy.base import TokenLoss, clipped_surrogate, masked_log_ratio
from rltoolkit.component import check, check_tokens
from rltoolkit.registry import register

if TYPE_CHECKING:
    from torch import Tensor


@register("clip_strategy", "symmetric")
@dataclass(frozen=True, kw_only=True)
class Symmetric:
    """PPO's clip, the baseline that Clip-Higher is compared with.

    Args:
        epsilon: the ratio's floor is 1 - epsilon and its ceiling 1 + epsilon; in [0, 1).
    """

    scope: ClassVar[str] = "token"

    epsilon: float = 0.2

    def __post_init__(self) -> None:
        check(self, "epsilon", 0 <= self.epsilon < 1, "in [0, 1)")

    def __call__(self, log_probs: Tensor, old_log_probs: Tensor, advantages: Tensor, mask: Tensor) -> TokenLoss:
        """All arguments [N, T]; see ``TokenLoss`` for what comes back."""
        check_tokens(self, log_probs=log_probs, old_log_probs=old_log_probs, advantages=advantages, mask=mask)
        ratio = masked_log_ratio(log_probs, old_log_probs, mask).exp()
        return clipped_surrogate(ratio, advantages, mask, 1 - self.epsilon, 1 + self.epsilon)
