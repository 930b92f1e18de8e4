"""The contract of a KL penalty: an estimate, for each token, of how far the policy is from the reference."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal, Protocol

if TYPE_CHECKING:
    from torch import Tensor

Reference = Literal["model", "sampler"] | None
"""Whose log-probs a penalty takes the policy's to: those of a reference model, which has to be loaded for it; those that the rollout
engine reported while it sampled; or nobody's."""


class KLPenalty(Protocol):
    """``penalty(log_probs, reference_log_probs) -> [N, T]``, an estimate of KL(policy || reference) token by token.

    There is no mask argument: the caller masks the result, and keeps inf and nan out of the arguments. Wrong shapes raise ValueError.
    With a true attribute ``weighed_by_ratio`` the objective multiplies the estimate by the ratio of new to old probability.
    """

    reference: ClassVar[Reference]
    """Whose log-probs the second argument holds; it may be None where this is."""

    @property
    def coefficient(self) -> float:
        """Scales the term in the objective."""
        ...

    def __call__(self, log_probs: Tensor, reference_log_probs: Tensor | None) -> Tensor:
        """The estimate of each token [N, T], in nats, without the coefficient."""
        ...
