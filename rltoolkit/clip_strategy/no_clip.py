"""No clip: the plain importance-weighted policy gradient, without a bound on the step.

    loss = -r A,   r = exp(log_probs - old_log_probs)

Source: PPO, arXiv:1707.06347, section 3, eq. 6 (conservative policy iteration). Config: ``clip_strategy=no_clip``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from rltoolkit.clip_strategy.base import TokenLoss, masked_log_ratio, unclipped
from rltoolkit.component import check_tokens
from rltoolkit.registry import register

if TYPE_CHECKING:
    from torch import Tensor


@register("clip_strategy", "no_clip")
@dataclass(frozen=True, kw_only=True)
class NoClip:
    """REINFORCE with importance weights: what every clip is compared with."""

    scope: ClassVar[str] = "token"

    def __call__(self, log_probs: Tensor, old_log_probs: Tensor, advantages: Tensor, mask: Tensor) -> TokenLoss:
        """All arguments [N, T]; no token is marked as clipped."""
        check_tokens(self, log_probs=log_probs, old_log_probs=old_log_probs, advantages=advantages, mask=mask)
        ratio = masked_log_ratio(log_probs, old_log_probs, mask).exp()
        return unclipped(-ratio * advantages, mask)
