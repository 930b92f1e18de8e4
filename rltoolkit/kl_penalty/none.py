"""No KL penalty: nothing keeps the policy near the reference, and no reference model is loaded.

    penalty = 0

Source: DAPO, arXiv:2503.14476, section 2.3. Config: ``kl_penalty=none``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from rltoolkit.kl_penalty.base import Reference
from rltoolkit.registry import register

if TYPE_CHECKING:
    from torch import Tensor


@register("kl_penalty", "none")
@dataclass(frozen=True, kw_only=True)
class NoPenalty:
    """Zero for every token."""

    reference: ClassVar[Reference] = None
    coefficient: ClassVar[float] = 0.0

    def __call__(self, log_probs: Tensor, reference_log_probs: Tensor | None = None) -> Tensor:
        """log_probs [N, T] -> zeros [N, T]; the reference is not looked at."""
        return torch.zeros_like(log_probs)
