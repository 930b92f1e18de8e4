"""Sequence mask: the importance weight of the whole response, and 0 for a response that is far likelier under the trainer.

    weight = rho where rho <= C, else 0,   rho = prod over the row of exp(old_log_probs - rollout_log_probs)

Where ``sequence_tis`` truncates the weight, this drops the response: the mismatch of engine and trainer is too large.

Source: Liu et al., "When speed kills stability: demystifying RL collapse from the training-inference mismatch", 2025
(sequence-level masked importance sampling).
Config: ``importance_correction=sequence_mask``.
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


@register("importance_correction", "sequence_mask")
@dataclass(frozen=True, kw_only=True)
class SequenceMask:
    """rho of the response, the same for all its tokens, 0 above C.

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
        return torch.where(mask & (rho <= self.threshold), rho, 0.0)
