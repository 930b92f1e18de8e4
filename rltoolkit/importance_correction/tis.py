"""Truncated importance sampling: each token is weighted by how much likelier it is under the trainer, up to a cap.

    weight = min(rho, C),   rho = exp(old_log_probs - rollout_log_probs)

Source: F. Yao et al., "Your efficient RL framework secretly brings you off-policy RL training", 2025; IMPALA,
arXiv:1802.01561, section 4.1 (the truncation). Config: ``importance_correction=tis``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from rltoolkit.component import check, check_tokens
from rltoolkit.importance_correction.base import log_rho
from rltoolkit.registry import register

if TYPE_CHECKING:
    from torch import Tensor


@register("importance_correction", "tis")
@dataclass(frozen=True, kw_only=True)
class TIS:
    """min(rho, C) per token.

    Args:
        threshold: the cap C; at least 1, and inf for plain importance weights.
    """

    threshold: float = 2.0

    def __post_init__(self) -> None:
        check(self, "threshold", self.threshold >= 1, "at least 1")

    def __call__(self, old_log_probs: Tensor, rollout_log_probs: Tensor, mask: Tensor) -> Tensor:
        """All [N, T]; see ``ImportanceCorrection``."""
        check_tokens(self, old_log_probs=old_log_probs, rollout_log_probs=rollout_log_probs, mask=mask)
        rho = log_rho(old_log_probs, rollout_log_probs, mask).exp()
        return torch.where(mask, rho.clamp(max=self.threshold), 0.0)
