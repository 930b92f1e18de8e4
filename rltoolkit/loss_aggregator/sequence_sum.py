"""Sequence sum: the sum over each response's tokens, then the mean over responses.

    weight = m / rows with trained tokens

The policy gradient of a whole response is the sum over its tokens, so this is the textbook estimator; its scale grows
with the length of the responses.

Source: REINFORCE, 1992 (Williams, doi:10.1007/BF00992696), episodic form. Config: ``loss_aggregator=sequence_sum``.
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


@register("loss_aggregator", "sequence_sum")
@dataclass(frozen=True, kw_only=True)
class SequenceSum(LossAggregator):
    """m / active rows; unlike the means, the weights add up to the mean response length."""

    def weights(self, mask: Tensor, totals: Totals) -> Tensor:
        """See ``LossAggregator.weights``."""
        check_tokens(self, mask=mask)
        return torch.where(mask, 1 / totals.active_rows.clamp(min=1), 0.0)
