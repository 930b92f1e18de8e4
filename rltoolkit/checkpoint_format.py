"""Checkpoint format: between the names that a live transformers model uses and those of its Hugging Face checkpoint.

For most models they are the same. But transformers keeps the experts of a layer in one tensor, where checkpoints (and vLLM) have one
for each expert and projection, and it has renamed layers of some architectures. It converts when it loads and reverts when it saves;
both functions here apply those very rules, so that names and tensors are those of ``save_pretrained``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from copy import deepcopy
from itertools import groupby
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

_LAYER = re.compile(r".*?\.\d+\.")


def to_checkpoint(causal_lm: Any, weights: Iterable[tuple[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
    """The weights of a model under the names of its checkpoint, one at a time; a layer at a time where rules put tensors together.

    Args:
        causal_lm: a transformers causal LM; only its rules are read, not its weights.
        weights: (its own name, tensor), layer by layer, as ``named_parameters`` yields them.
    """
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import WeightConverter, revert_weight_conversion

    if any(isinstance(rule, WeightConverter) for rule in get_model_conversion_mapping(causal_lm)):
        for _, layer in groupby(weights, key=lambda item: _layer_of(item[0])):
            yield from revert_weight_conversion(causal_lm, dict(layer)).items()
    else:
        for name, weight in weights:
            yield from revert_weight_conversion(causal_lm, {name: weight}).items()


def from_checkpoint(causal_lm: Any, weights: Iterable[tuple[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
    """The opposite: (the model's own name, tensor). What makes up one tensor there (experts) comes last, when all of it is here."""
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import WeightConverter, WeightRenaming, rename_source_key

    own = causal_lm.state_dict()
    rules = get_model_conversion_mapping(causal_lm)
    renamings = [rule for rule in rules if isinstance(rule, WeightRenaming)]
    converters = [rule for rule in rules if isinstance(rule, WeightConverter)]
    converter_of = {pattern: converter for converter in converters for pattern in converter.source_patterns}
    pending: dict[str, WeightConverter] = {}
    for name, tensor in weights:
        new_name, pattern = rename_source_key(name, renamings, converters, causal_lm.base_model_prefix, own)
        if pattern is None:
            yield new_name, tensor
        else:
            converter = pending.setdefault(new_name, deepcopy(converter_of[pattern]))
            converter.add_tensor(new_name, name, pattern, tensor)  # type: ignore[arg-type]
    for new_name, converter in pending.items():
        for target, tensor in converter.convert(new_name, model=causal_lm, config=causal_lm.config).items():
            yield target, tensor[0] if isinstance(tensor, list) else tensor


def _layer_of(name: str) -> str:
    """``model.layers.3.mlp.gate.weight`` -> ``model.layers.3.``; nothing for what stands in no layer."""
    match = _LAYER.match(name)
    return match.group() if match else ""
