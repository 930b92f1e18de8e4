"""No importance correction: engine and trainer are treated as the same policy; their gap is still logged.

    weight = m

Source: DAPO, arXiv:2503.14476, section 2.1 (the ratio is taken to the policy that sampled).
Config: ``importance_correction=none``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rltoolkit.component import check_tokens
from rltoolkit.registry import register

if TYPE_CHECKING:
    from torch import Tensor


@register("importance_correction", "none")
@dataclass(frozen=True, kw_only=True)
class NoCorrection:
    """Weight 1 for every trained token."""

    def __call__(self, old_log_probs: Tensor, rollout_log_probs: Tensor, mask: Tensor) -> Tensor:
        """All [N, T]; see ``ImportanceCorrection``."""
        check_tokens(self, old_log_probs=old_log_probs, rollout_log_probs=rollout_log_probs, mask=mask)
        return mask.to(old_log_probs.dtype)
