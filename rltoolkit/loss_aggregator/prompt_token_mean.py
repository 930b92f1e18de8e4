"""Prompt token mean: a token mean within each prompt's group, then the mean over prompts; every prompt counts the same.

    weight = m / (prompts * sum of m over the row's group)

``prompts`` counts the groups with a trained token. With one prompt, or with equally many tokens in every group, this is
``token_mean``.

Source: DAPO, arXiv:2503.14476, section 3.3, eq. 8 and 12 read literally (the expectation over prompts stands outside
1 / sum |o_i|); DAPO's released code computes ``token_mean``. Config: ``loss_aggregator=prompt_token_mean``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from rltoolkit.component import check_tokens, label
from rltoolkit.loss_aggregator.base import LossAggregator, Totals
from rltoolkit.registry import register

if TYPE_CHECKING:
    from torch import Tensor


@register("loss_aggregator", "prompt_token_mean")
@dataclass(frozen=True, kw_only=True)
class PromptTokenMean(LossAggregator):
    """m / (prompts * tokens of the row's group); needs to know which rows belong together."""

    def weights(self, mask: Tensor, totals: Totals) -> Tensor:
        """See ``LossAggregator.weights``. Raises ValueError where the rows carry no group."""
        check_tokens(self, mask=mask)
        if totals.active_groups is None or totals.group_tokens is None:
            raise ValueError(
                f"{label(self)}: group_index is missing, expected [N], the prompt of each row; "
                "loss_aggregator=token_mean needs none"
            )
        if len(totals.group_tokens) != len(mask):
            raise ValueError(
                f"{label(self)}: totals are of {len(totals.group_tokens)} rows, expected {len(mask)}, "
                "as the mask has; see Totals.select"
            )
        group_weight = 1 / (totals.active_groups * totals.group_tokens).clamp(min=1)
        return torch.where(mask, group_weight[:, None], 0.0)
