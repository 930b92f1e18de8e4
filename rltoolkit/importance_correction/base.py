"""The contract of an importance correction: weights that mend the gap between the sampler's policy and the trainer's."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class ImportanceCorrection(Protocol):
    """``correction(old_log_probs, rollout_log_probs, mask) -> weights``, all [N, T]; the weights carry no gradient.

    ``old_log_probs`` are the trainer's under the policy that sampled, ``rollout_log_probs`` the engine's own.
    """

    def __call__(self, old_log_probs: Tensor, rollout_log_probs: Tensor, mask: Tensor) -> Tensor: ...
