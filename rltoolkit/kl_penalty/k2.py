"""k2: half the squared log-ratio, never negative, biased but with a small variance near the reference.

    penalty = d^2 / 2,   d = log_probs - reference_log_probs

As a loss its gradient on fresh samples, E[d grad log_probs], is exactly that of KL(policy || reference).

Source: J. Schulman, "Approximating KL divergence", 2020, estimator k2. Config: ``kl_penalty=k2``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from rltoolkit.component import check, check_tokens
from rltoolkit.kl_penalty.base import Reference
from rltoolkit.registry import register

if TYPE_CHECKING:
    from torch import Tensor


@register("kl_penalty", "k2")
@dataclass(frozen=True, kw_only=True)
class K2:
    """Half the square of the log-ratio.

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
        return (log_probs - reference_log_probs).square() / 2
