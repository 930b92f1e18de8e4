"""IcePop: the importance weight of each token, and 0 for a token on which sampler and trainer disagree too much.

    weight = rho where 1 / C <= rho <= C, else 0,   rho = exp(old_log_probs - rollout_log_probs)

Where ``tis`` truncates on one side, this drops on both. The source has two separate bounds (0.5 and 5).

Source: Ring-1T, arXiv:2510.18855, eq. 1 and 2 (IcePop). Config: ``importance_correction=icepop``.
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


@register("importance_correction", "icepop")
@dataclass(frozen=True, kw_only=True)
class IcePop:
    """rho within [1 / C, C], 0 outside.

    Args:
        threshold: the bound C; at least 1. The default is the source's upper bound.
    """

    threshold: float = 5.0

    def __post_init__(self) -> None:
        check(self, "threshold", self.threshold >= 1, "at least 1")

    def __call__(self, old_log_probs: Tensor, rollout_log_probs: Tensor, mask: Tensor) -> Tensor:
        """All [N, T]; see ``ImportanceCorrection``."""
        check_tokens(self, old_log_probs=old_log_probs, rollout_log_probs=rollout_log_probs, mask=mask)
        rho = log_rho(old_log_probs, rollout_log_probs, mask).exp()
        return torch.where(mask & (rho >= 1 / self.threshold) & (rho <= self.threshold), rho, 0.0)
