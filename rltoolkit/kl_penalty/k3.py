"""k3: unbiased like k1 and never negative, the penalty of GRPO.

    penalty = exp(-d) + d - 1,   d = log_probs - reference_log_probs

As a loss its gradient on fresh samples, E[(1 - exp(-d)) grad log_probs], is that of KL(reference || policy).

Source: J. Schulman, "Approximating KL divergence", 2020, estimator k3; GRPO, arXiv:2402.03300, eq. 4. Config: ``kl_penalty=k3``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from rltoolkit.component import check, check_tokens
from rltoolkit.kl_penalty.base import Reference
from rltoolkit.registry import register

if TYPE_CHECKING:
    from torch import Tensor


@register("kl_penalty", "k3")
@dataclass(frozen=True, kw_only=True)
class K3:
    """The log-ratio with a control variate of mean zero.

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
        log_ratio = log_probs - reference_log_probs
        return (-log_ratio).exp() + log_ratio - 1
