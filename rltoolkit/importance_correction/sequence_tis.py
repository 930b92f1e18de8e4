"""Sequence TIS: one truncated importance weight for the whole response.

    weight = min(prod over the row of rho_t, C),   rho_t = exp(old_log_probs - rollout_log_probs)

Unbiased below the cap, where the token-level weights of ``tis`` are not; but the product varies more for longer responses.

Source: Liu et al., "When speed kills stability: demystifying RL collapse from the training-inference mismatch", 2025
(sequence-level truncated importance sampling).
Config: ``importance_correction=sequence_tis``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from rltoolkit.component import check, check_tokens
from rltoolkit.importance_correction.base import row_rho
from rltoolkit.registry import register

if TYPE_CHECKING:
    from torch import Tensor


@register("importance_correction", "sequence_tis")
@dataclass(frozen=True, kw_only=True)
class SequenceTIS:
    """min(rho of the response, C), the same for all its tokens.

    Args:
        threshold: the bound C; at least 1.
    """

    threshold: float = 2.0

    def __post_init__(self) -> None:
        check(self, "threshold", self.threshold >= 1, "at least 1")

    def __call__(self, old_log_probs: Tensor, rollout_log_probs: Tensor, mask: Tensor) -> Tensor:
        """All [N, T]; see ``ImportanceCorrection``."""
        check_tokens(self, old_log_probs=old_log_probs, rollout_log_probs=rollout_log_probs, mask=mask)
        rho = row_rho(old_log_probs, rollout_log_probs, mask)
        return torch.where(mask, rho.clamp(max=self.threshold), 0.0)
