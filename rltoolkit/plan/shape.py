"""The sizes of a model, from its configuration alone: its parameters are counted on torch's meta device, where they take no memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rltoolkit.errors import ConfigError

if TYPE_CHECKING:
    from rltoolkit.policy.lora import LoRA


class UnknownShape(ConfigError):
    """No plan can be made; the run itself may well be possible."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Numbers of parameters, and the widths that memory depends on."""

    parameters: int
    trained: int
    """all of them, or the adapters of LoRA"""
    layer: int
    """of the largest decoder layer"""
    outside: int
    """in no decoder layer: embeddings, final norm, head"""
    largest: int
    """of the largest tensor"""
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_size: int
    intermediate: int
    vocabulary: int


def shape_of(architecture: Any, lora: LoRA) -> Shape:
    """The shape of a transformers configuration, with adapters where ``lora`` asks for them.

    Raises ValueError for an architecture that the policy or the adapters do not fit, UnknownShape for one without attention.
    """
    import torch

    from rltoolkit.policy.backbone import decoder_layers
    from rltoolkit.policy.loading import quiet_transformers
    from rltoolkit.policy.lora import add_adapters

    transformers = quiet_transformers()
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(architecture)
        parameters, largest = _count(model), max(each.numel() for each in model.parameters())
        layers = [_count(layer) for layer in decoder_layers(model)]
        add_adapters(model, lora, seed=0)
    text = architecture.get_text_config()
    heads = getattr(text, "num_attention_heads", None)
    if heads is None:
        raise UnknownShape(f"{type(architecture).__name__} names no attention heads: how much memory it takes is not known")
    return Shape(
        parameters=parameters,
        trained=sum(each.numel() for each in model.parameters() if each.requires_grad),
        layer=max(layers),
        outside=parameters - sum(layers),
        largest=largest,
        layers=len(layers),
        hidden=text.hidden_size,
        heads=heads,
        kv_heads=getattr(text, "num_key_value_heads", None) or heads,
        head_size=getattr(text, "head_dim", None) or text.hidden_size // heads,
        intermediate=getattr(text, "intermediate_size", None) or 4 * text.hidden_size,
        vocabulary=text.vocab_size,
    )


def _count(module: Any) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
