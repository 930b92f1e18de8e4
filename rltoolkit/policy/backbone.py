"""Backbone: where a transformers causal LM keeps its decoder layers, and what they keep for the backward pass."""

from __future__ import annotations

from functools import partial
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


def recompute_layers(causal_lm: Any) -> None:
    """Let each decoder layer keep nothing but its input for the backward pass, which computes the layer once more.

    Activations then take one hidden state a layer and token, and one whole layer at a time; a step computes a forward pass more.
    Gradients stay as they are. Call it before the layers are sharded.

    Source: Chen et al. 2016, arXiv:1604.06174. Raises what ``decoder_layers`` raises.
    """
    from torch.utils.checkpoint import checkpoint  # here: the command line defers torch, and this would load a part of it

    for layer in decoder_layers(causal_lm):
        layer.forward = partial(checkpoint, layer.forward, use_reentrant=False)
