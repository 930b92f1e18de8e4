"""The contract of a clip strategy: from log-probs and advantages to a loss for each token."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, NamedTuple, Protocol

import torch

if TYPE_CHECKING:
    from torch import Tensor


class TokenLoss(NamedTuple):
    """What a clip strategy returns; every tensor is [N, T], rows by tokens."""

    loss: Tensor
    """Minimised. Exactly zero, with zero gradient, where the mask is False."""
    clipped_low: Tensor
    """bool: the strategy holds this token back from falling further. With most strategies it then gets no gradient; ``cispo``,
    for one, only bounds its weight. Each strategy says what its marks mean."""
    clipped_high: Tensor
    """bool: likewise from rising further"""


class ClipStrategy(Protocol):
    """``strategy(log_probs, old_log_probs, advantages, mask) -> TokenLoss``, all [N, T], advantages repeated over tokens.

    Values where the mask is False are never used, even if they are inf or nan. Wrong shapes raise ValueError.
    """

    scope: ClassVar[str]
    """What a token's loss depends on: its own "token", its whole "row" (micro-batches hold whole rows), or the whole
    optimizer "step" (then see ``StepClipStrategy``)."""

    def __call__(self, log_probs: Tensor, old_log_probs: Tensor, advantages: Tensor, mask: Tensor) -> TokenLoss:
        """The loss of each token [N, T], and which tokens are held back."""
        ...


class StepClipStrategy(Protocol):
    """A clip strategy that selects tokens by a statistic of the whole optimizer step (``scope`` is "step").

    ``select`` is called once on all rows of the step. Each micro-batch gets its rows of the answer as ``selected``, so the
    gradient does not depend on the split. Without ``selected`` the rows at hand count as the whole step.
    """

    scope: ClassVar[str]

    def select(self, log_probs: Tensor, old_log_probs: Tensor, advantages: Tensor, mask: Tensor) -> Tensor:
        """[N, T] bool, no gradient, deterministic: the largest first, ties by position."""
        ...

    def __call__(
        self, log_probs: Tensor, old_log_probs: Tensor, advantages: Tensor, mask: Tensor, *, selected: Tensor | None = None
    ) -> TokenLoss:
        """The loss of each token [N, T]; ``selected`` [N, T] bool is these rows' part of what ``select`` chose."""
        ...


def masked_log_ratio(log_probs: Tensor, old_log_probs: Tensor, mask: Tensor) -> Tensor:
    """log r = log_probs - old_log_probs where the mask is True, 0 elsewhere, so that padding never reaches exp()."""
    return torch.where(mask, log_probs - old_log_probs, 0.0)


def row_mean(values: Tensor, mask: Tensor) -> Tensor:
    """[N, 1]: the mean over each row's trained tokens of values that are 0 elsewhere; 0 for a row without any."""
    return values.sum(-1, keepdim=True) / mask.sum(-1, keepdim=True).clamp(min=1)


def clipped_surrogate(ratio: Tensor, advantages: Tensor, mask: Tensor, floor: float, ceiling: float) -> TokenLoss:
    """PPO's pessimistic surrogate, -min(r A, clip(r, floor, ceiling) A), all [N, T]."""
    pessimistic = torch.minimum(ratio * advantages, ratio.clamp(floor, ceiling) * advantages)
    return TokenLoss(
        loss=torch.where(mask, -pessimistic, 0.0),
        clipped_low=mask & (ratio < floor) & (advantages < 0),
        clipped_high=mask & (ratio > ceiling) & (advantages > 0),
    )


def without_gradient(loss: Tensor, mask: Tensor, clipped_low: Tensor, clipped_high: Tensor) -> TokenLoss:
    """The token losses [N, T], set to 0 for clipped tokens: they add neither loss nor gradient."""
    return TokenLoss(torch.where(mask & ~(clipped_low | clipped_high), loss, 0.0), clipped_low, clipped_high)


def unclipped(loss: Tensor, mask: Tensor) -> TokenLoss:
    """The token losses [N, T] of a strategy that takes no gradient away."""
    return TokenLoss(torch.where(mask, loss, 0.0), clipped_low=torch.zeros_like(mask), clipped_high=torch.zeros_like(mask))
