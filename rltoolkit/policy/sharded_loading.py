"""Sharded loading: a policy is made without weights, sharded, and only then does each rank read its own part of them from the disk.

No process ever holds the whole model: of a model of w bytes on R ranks each takes w / R, and one tensor's part beyond that while it
reads. Every rank has to see the files.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from rltoolkit.policy.attention import VARLEN, suits, use_varlen
from rltoolkit.policy.loading import causal_lm_config, quiet_transformers
from rltoolkit.policy.lora import BASE
from rltoolkit.policy.policy import PolicyModel
from rltoolkit.policy.verify import verified_layout

if TYPE_CHECKING:
    from torch import Tensor, nn


def load_without_weights(path: Path, attention: str = "sdpa", dtype: str = "float32") -> PolicyModel | None:
    """The model of a directory with parameters on the meta device; ``read_weights`` fills it. Arguments as of ``load_policy``.

    Returns:
        None where it has to be loaded whole: its files are no safetensors, or hold its weights under other names or in other shapes
        than the model does (experts that transformers keeps in one tensor).

    Raises:
        ValueError: as ``load_policy``.
    """
    from accelerate import init_empty_weights
    from torch.distributed.checkpoint import HuggingFaceStorageReader
    from transformers.initialization import no_init_weights

    transformers, config = quiet_transformers(), causal_lm_config(path)
    with init_empty_weights(include_buffers=False), no_init_weights():
        model = transformers.AutoModelForCausalLM.from_config(
            config,
            dtype=getattr(torch, dtype),
            attn_implementation=None if attention in ("sdpa", VARLEN) else attention,
        )
    model.tie_weights()  # above, every parameter became one of its own
    stored = HuggingFaceStorageReader(str(path)).read_metadata().state_dict_metadata
    if any(getattr(stored.get(name), "size", None) != weight.shape for name, weight in _own_weights(model).items()):
        return None
    if attention == VARLEN and suits(model):
        use_varlen(model)
    policy = PolicyModel(model, layout=verified_layout(model))
    policy.unread = path
    return policy


def read_weights(policy: PolicyModel, device: torch.device) -> None:
    """Fill a policy of ``load_without_weights`` on a device, in place, after it was sharded; a collective. Adapters keep their values.

    Raises:
        OSError, SafetensorError: a file that went away or cannot be read.
    """
    from torch.distributed import checkpoint as dcp

    assert policy.unread is not None
    policy._apply(lambda tensor: torch.empty_like(tensor, device=device) if tensor.is_meta else tensor.to(device))
    weights: dict[str, Any] = _own_weights(policy.causal_lm)
    with warnings.catch_warnings(action="ignore"):  # torch warns where there is no process group
        dcp.load(weights, storage_reader=dcp.HuggingFaceStorageReader(str(policy.unread)))
    policy.unread = None


def _own_weights(causal_lm: nn.Module) -> dict[str, Tensor]:
    """Parameters and saved buffers by the names that they have without adapters, whose own are left out; a tied head comes once."""
    saved = causal_lm.state_dict().keys()
    tensors = [*causal_lm.named_parameters(), *((name, buffer) for name, buffer in causal_lm.named_buffers() if name in saved)]
    return {name.replace(BASE, "."): tensor.detach() for name, tensor in tensors if ".lora_" not in name}
