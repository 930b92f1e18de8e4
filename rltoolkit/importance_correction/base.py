"""The contract of an importance correction: weights for the gap between the engine's policy and the trainer's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import torch

if TYPE_CHECKING:
    from torch import Tensor


class ImportanceCorrection(Protocol):
    """``correction(old_log_probs, rollout_log_probs, mask) -> weights``, all [N, T]; the weights carry no gradient.

    ``old_log_probs`` are the trainer's under the policy at the start of the update (for a group carried over from an earlier
    rollout step they are the engine's own, and rho is 1), ``rollout_log_probs`` the engine's own. Weights are
    0 where the mask is False, even if the arguments are inf or nan there. Wrong shapes raise ValueError.
    """

    def __call__(self, old_log_probs: Tensor, rollout_log_probs: Tensor, mask: Tensor) -> Tensor:
        """The weight of each token [N, T]; the objective multiplies the token's loss by it."""
        ...


def log_rho(old_log_probs: Tensor, rollout_log_probs: Tensor, mask: Tensor) -> Tensor:
    """[N, T] log rho = old_log_probs - rollout_log_probs where the mask is True, 0 elsewhere; no gradient."""
    return torch.where(mask, (old_log_probs - rollout_log_probs).detach(), 0.0)


def row_rho(old_log_probs: Tensor, rollout_log_probs: Tensor, mask: Tensor) -> Tensor:
    """[N, 1]: the ratio of the whole response, exp(sum over the row of log rho); no gradient."""
    return log_rho(old_log_probs, rollout_log_probs, mask).sum(-1, keepdim=True).exp()


def row_mean(values: Tensor, mask: Tensor) -> Tensor:
    """[N, 1]: mean of ``values`` [N, T] over each row's tokens under the mask; 0 in rows without any."""
    return torch.where(mask, values, 0.0).sum(-1, keepdim=True) / mask.sum(-1, keepdim=True).clamp(min=1)
