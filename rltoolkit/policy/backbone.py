"""Backbone: where a transformers causal LM keeps its decoder layers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from torch import nn


def decoder_layers(causal_lm: Any) -> nn.ModuleList:
    """The transformer blocks, first to last: ``model.layers`` in most architectures, ``transformer.h`` in those like GPT-2.

    Raises:
        ValueError: the architecture keeps them in no list.
    """
    count = causal_lm.config.get_text_config().num_hidden_layers
    for child in causal_lm.get_decoder().children():
        if isinstance(child, torch.nn.ModuleList) and len(child) == count:
            return child
    raise ValueError(
        f"{type(causal_lm).__name__} keeps its {count} decoder layers in no list that could be found: it cannot be sharded "
        "over ranks, trained with lora.rank, or trained in another dtype than float32"
    )
