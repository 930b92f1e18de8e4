"""Fixed length (Dr. GRPO): the sum over tokens divided by a constant, so that weights do not depend on lengths.

    weight = m / (N * max_length)

N counts every row of the step, also those without a trained token.

Source: Dr. GRPO, arXiv:2503.20783, section 3.2 and its listing 1 (the generation budget as the constant).
Config: ``loss_aggregator=fixed_length``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from rltoolkit.component import check, check_tokens, follows
from rltoolkit.loss_aggregator.base import LossAggregator, Totals
from rltoolkit.registry import register

if TYPE_CHECKING:
    from torch import Tensor


@register("loss_aggregator", "fixed_length")
@dataclass(frozen=True, kw_only=True)
class FixedLength(LossAggregator):
    """m / (rows * max_length).

    Args:
        max_length: the longest response in tokens; at least 1. The default is the paper's (DAPO) generation limit.
    """

    max_length: int = follows("sampling.max_new_tokens", 20_480)

    def __post_init__(self) -> None:
        check(self, "max_length", self.max_length >= 1, "at least 1")

    def weights(self, mask: Tensor, totals: Totals) -> Tensor:
        """See ``LossAggregator.weights``."""
        check_tokens(self, mask=mask)
        return torch.where(mask, 1 / (totals.rows * self.max_length).clamp(min=1), 0.0)
