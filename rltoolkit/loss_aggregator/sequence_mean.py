"""Sequence mean (GRPO): the mean over each response's tokens, then the mean over responses; every response counts the same.

    weight = m / (rows with trained tokens * tokens of the row)

A token of a long response weighs less than one of a short response, which the token-level loss (``token_mean``) changes.

Source: GRPO, arXiv:2402.03300, section 4.1, eq. 3; DAPO, arXiv:2503.14476, section 3.3 (discussion).
Config: ``loss_aggregator=sequence_mean``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from rltoolkit.component import check_tokens
from rltoolkit.loss_aggregator.base import LossAggregator, Totals
from rltoolkit.registry import register

if TYPE_CHECKING:
    from torch import Tensor


@register("loss_aggregator", "sequence_mean")
@dataclass(frozen=True, kw_only=True)
class SequenceMean(LossAggregator):
    """m / (active rows * tokens of the row)."""

    def weights(self, mask: Tensor, totals: Totals) -> Tensor:
        """See ``LossAggregator.weights``."""
        check_tokens(self, mask=mask)
        row_tokens = mask.sum(-1, keepdim=True)
        return torch.where(mask, 1 / (totals.active_rows * row_tokens).clamp(min=1), 0.0)
