"""Whitening over the rollout batch, for the two estimators of REINFORCE++."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor


def whitened(values: Tensor, counted: Tensor, length: Tensor, *, weigh_by_length: bool, eps: float) -> Tensor:
    """(values - mean) / (std + eps), with mean and std over the counted rows of the whole batch; all tensors [P, G].

    ``weigh_by_length`` counts each row once for each of its ``length`` tokens, and divides the squares by the number of tokens.
    Otherwise each row counts once, and the std is Bessel-corrected.
    """
    weight = torch.where(counted, length.double() if weigh_by_length else 1.0, 0.0)
    total = weight.sum()
    # One division of two exact sums: equal values cancel to exactly 0.
    centered = values - (weight * values).sum() / total.clamp(min=1)
    squares = (weight * centered.square()).sum()
    std = (squares / (total if weigh_by_length else total - 1).clamp(min=1)).sqrt()
    return centered / (std + eps)
