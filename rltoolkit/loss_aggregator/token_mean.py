"""Token mean: every trained token of the step weighs the same, so long responses count in proportion to their length.

    weight = m / sum(m)

Source: DAPO, arXiv:2503.14476, section 3.3, as its released code computes it (eq. 8 read literally averages within each
prompt's group first: that is ``prompt_token_mean``). Config: ``loss_aggregator=token_mean``.
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


@register("loss_aggregator", "token_mean")
@dataclass(frozen=True, kw_only=True)
class TokenMean(LossAggregator):
    """m / sum(m) over the whole optimizer step."""

    def weights(self, mask: Tensor, totals: Totals) -> Tensor:
        """See ``LossAggregator.weights``."""
        check_tokens(self, mask=mask)
        return torch.where(mask, 1 / totals.tokens.clamp(min=1), 0.0)
