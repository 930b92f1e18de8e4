"""k1: the log-ratio itself, unbiased as an estimate of KL(policy || reference) but with a large variance.

    penalty = d,   d = log_probs - reference_log_probs

Meant for the reward: as a loss its expected gradient on fresh samples is zero, since E[grad log_probs] = 0.

Source: J. Schulman, "Approximating KL divergence", 2020, estimator k1. Config: ``kl_penalty=k1``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from rltoolkit.component import check, check_tokens
from rltoolkit.kl_penalty.base import Reference
from rltoolkit.registry import register

if TYPE_CHECKING:
    from torch import Tensor


@register("kl_penalty", "k1")
@dataclass(frozen=True, kw_only=True)
class K1:
    """The log-ratio; may be negative for a single token.

    Args:
        coefficient: scales the term in the objective; at least 0. The default is GRPO's beta.
    """

    reference: ClassVar[Reference] = "model"

    coefficient: float = 0.04

    def __post_init__(self) -> None:
        check(self, "coefficient", self.coefficient >= 0, "at least 0")

    def __call__(self, log_probs: Tensor, reference_log_probs: Tensor) -> Tensor:
        """Both arguments and the result [N, T]."""
        check_tokens(self, log_probs=log_probs, reference_log_probs=reference_log_probs)
        return log_probs - reference_log_probs
