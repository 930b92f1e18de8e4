"""The contract of a loss aggregator: one weight for each token, so that sums over any split add up.

    loss = sum over tokens of weight * token_loss

The weights depend on the mask of the *whole* optimizer step (all micro-batches, all ranks), which ``Totals`` summarises.
Because the loss is a plain sum, the gradient does not depend on micro-batch size, packing, accumulation or number of ranks.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from rltoolkit.component import check_tokens, label

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Totals:
    """What aggregators need to know about the whole optimizer step, for the N rows at hand.

    Only rows with at least one trained token count as active; a group is active if one of its rows is.
    """

    tokens: Tensor
    """scalar float: trained tokens of the step"""
    rows: Tensor
    """scalar float: rows of the step, empty ones included"""
    active_rows: Tensor
    """scalar float: rows with a trained token"""
    active_groups: Tensor | None
    """scalar float: groups with a trained token; None where rows carry no group"""
    group_tokens: Tensor | None
    """[N] float: trained tokens of the step in each row's group; None where rows carry no group"""

    @classmethod
    def of(cls, mask: Tensor, group_index: Tensor | None = None) -> Totals:
        """Summarise the step's mask [N, T]; ``group_index`` [N] says which prompt each row answers."""
        row_tokens = mask.sum(-1).double()
        active_groups = group_tokens = None
        if group_index is not None:
            _, group = torch.unique(group_index, return_inverse=True)
            per_group = row_tokens.new_zeros(int(group.max()) + 1 if len(group) else 0).index_add(0, group, row_tokens)
            active_groups, group_tokens = (per_group > 0).sum().double(), per_group[group]
        return cls(
            tokens=row_tokens.sum(),
            rows=torch.tensor(float(len(mask)), dtype=torch.float64, device=mask.device),
            active_rows=(row_tokens > 0).sum().double(),
            active_groups=active_groups,
            group_tokens=group_tokens,
        )

    def select(self, rows: Tensor) -> Totals:
        """The same totals for some of the rows ([n] indices or [N] bool), those of a micro-batch or a rank."""
        group_tokens = None if self.group_tokens is None else self.group_tokens[rows]
        return Totals(
            tokens=self.tokens,
            rows=self.rows,
            active_rows=self.active_rows,
            active_groups=self.active_groups,
            group_tokens=group_tokens,
        )


class LossAggregator(ABC):
    """Subclasses say how much each token weighs; the sum is the same for all of them."""

    @abstractmethod
    def weights(self, mask: Tensor, totals: Totals) -> Tensor:
        """[N, T] weights (float64) for the rows at hand, 0 where the mask is False, given the totals of the whole step.

        Raises ValueError where the mask is not [N, T] bool, or where ``totals`` does not fit it.
        """

    def __call__(self, token_loss: Tensor, mask: Tensor, group_index: Tensor | None = None) -> Tensor:
        """The scalar loss of a step whose rows are all here: token_loss [N, T], mask [N, T] bool, group_index [N].

        Raises ValueError where a shape is wrong.
        """
        check_tokens(self, token_loss=token_loss, mask=mask)
        if group_index is not None and group_index.shape != mask.shape[:1]:
            raise ValueError(f"{label(self)}: group_index has shape {list(group_index.shape)}, expected [{len(mask)}]")
        weights = self.weights(mask, Totals.of(mask, group_index)).to(token_loss.dtype)
        return (weights * torch.where(mask, token_loss, 0.0)).sum()
