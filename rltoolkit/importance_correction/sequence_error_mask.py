"""Sequence error mask: drops a response whose tokens' probabilities differ too much between sampler and trainer, on average.

    weight = 1 where e <= tau, else 0,   e = mean over the row of exp(|old_log_probs - rollout_log_probs|)

e is 1 where both agree and grows with every token on which they do not, whichever way: differences cannot cancel out, as they do
in the mean ratio of ``geometric_mask``. A single token off by a factor of 100 lifts the e of 100 tokens to 2. It finds responses that
went wrong, not a small mismatch of all of them.

Source: none; NeMo-RL has it as ``seq_logprob_error_threshold``. Config: ``importance_correction=sequence_error_mask``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rltoolkit.component import check, check_tokens
from rltoolkit.importance_correction.base import log_rho, row_mean
from rltoolkit.registry import register

if TYPE_CHECKING:
    from torch import Tensor


@register("importance_correction", "sequence_error_mask")
@dataclass(frozen=True, kw_only=True)
class SequenceErrorMask:
    """1 for the tokens of responses with an error of at most tau, 0 for all others.

    Args:
        threshold: the bound tau; at least 1. The default is the one of NeMo-RL's recipes.
    """

    threshold: float = 2.0

    def __post_init__(self) -> None:
        check(self, "threshold", self.threshold >= 1, "at least 1")

    def __call__(self, old_log_probs: Tensor, rollout_log_probs: Tensor, mask: Tensor) -> Tensor:
        """All [N, T]; see ``ImportanceCorrection``."""
        check_tokens(self, old_log_probs=old_log_probs, rollout_log_probs=rollout_log_probs, mask=mask)
        error = row_mean(log_rho(old_log_probs, rollout_log_probs, mask).abs().exp(), mask)
        return (mask & (error <= self.threshold)).to(old_log_probs.dtype)
