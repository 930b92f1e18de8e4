"""Logits: the product of hidden states and the head, which trainer and engines round in the same way.

Source of the choice of float32: MiniMax-M1, arXiv:2506.13585; ScaleRL, arXiv:2510.13786.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def project(states: Tensor, weight: Tensor, bias: Tensor | None, *, in_float32: bool) -> Tensor:
    """The logits ``states weight^T + bias``. ``in_float32``: products of bfloat16 numbers, exact in float32, are summed and kept there.

    Logits reach 20 and more, where neighbours in bfloat16 are 0.125 apart: rounding them changes probabilities by several per cent.
    """
    if not in_float32 or states.dtype != torch.bfloat16:
        return F.linear(states, weight, bias)
    if not states.is_cuda:
        return F.linear(states.float(), weight.float(), None if bias is None else bias.float())
    logits = torch.mm(states.flatten(0, -2), weight.T, out_dtype=torch.float32).unflatten(0, states.shape[:-1])
    return logits if bias is None else logits + bias
