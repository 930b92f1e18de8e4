"""Sampler drift: the squared log-ratio to the policy that sampled, a pull back to where the rollouts came from.

    penalty = (log_probs - rollout_log_probs)^2

No reference model: the rollout engine has reported its log-probs already. The penalty is 0 while the policy is the one that
sampled, and grows over the updates of a rollout step and with the age of its rollouts. Also where a clip strategy lets no gradient
through: there it is all that pulls a token back. It is symmetric: tokens that became rare are pulled back as those that became
likely are. The mismatch of engine and trainer counts as drift, too.

Source: Kimi K2.5, arXiv:2602.02276 (the regulariser of its policy objective, tau its coefficient); the default of the coefficient
is prime-rl's. Config: ``kl_penalty=sampler_drift``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from rltoolkit.component import check, check_tokens
from rltoolkit.kl_penalty.base import Reference
from rltoolkit.registry import register

if TYPE_CHECKING:
    from torch import Tensor


@register("kl_penalty", "sampler_drift")
@dataclass(frozen=True, kw_only=True)
class SamplerDrift:
    """The square of the log-ratio to the sampler, twice ``k2``'s.

    Args:
        coefficient: tau, scales the term in the objective; at least 0.
    """

    reference: ClassVar[Reference] = "sampler"

    coefficient: float = 0.001

    def __post_init__(self) -> None:
        check(self, "coefficient", self.coefficient >= 0, "at least 0")

    def __call__(self, log_probs: Tensor, reference_log_probs: Tensor) -> Tensor:
        """Both arguments and the result [N, T]; ``reference_log_probs`` are the rollout engine's."""
        check_tokens(self, log_probs=log_probs, reference_log_probs=reference_log_probs)
        return (log_probs - reference_log_probs).square()
