"""LoRA: frozen weights, and beside the linear layers of every decoder layer a low-rank update that is trained.

    y = W x + scale * B A x,    scale = alpha / rank,    W [out, in], A [rank, in], B [out, rank]

A starts random and B at zero: training starts at the base policy exactly. Whoever asks for weights gets W + scale * B A under W's
Hugging Face name, so engines, exports and evaluations see a model without adapters. In bfloat16 the engine rounds W + scale * B A,
the trainer rounds W and B A apart: where B A is much smaller than W, the engine sees less of it.

Source: arXiv:2106.09685, section 4.1. Config: ``lora.rank=16``, with every model.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from rltoolkit.component import check
from rltoolkit.policy.backbone import decoder_layers

if TYPE_CHECKING:
    from torch import Tensor, nn

_ADAPTER = "default"  # peft's name for the only one
BASE = ".base_layer."  # where peft puts a layer's own weights


@dataclass(kw_only=True)
class LoRA:
    """Which adapters to train: the config section ``lora``. Their learning rate is usually about ten times that of all weights.

    Args:
        rank: of the update; 0 trains all weights and no adapter.
        alpha: the update is scaled by alpha / rank.
        target_modules: names of linear layers, like ``q_proj``; none given, all in the decoder layers.
    """

    section: ClassVar[str] = "lora"

    rank: int = 0
    alpha: int = 32
    target_modules: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        check(self, "rank", self.rank >= 0, "at least 0")
        check(self, "alpha", self.alpha >= 1, "at least 1")


def add_adapters(causal_lm: Any, lora: LoRA, seed: int) -> None:
    """Freeze a transformers causal LM and put adapters into its decoder layers, in place; rank 0 changes nothing.

    Args:
        causal_lm: what ``PolicyModel`` wraps, not yet sharded.
        lora: which adapters.
        seed: decides A; every rank must draw the same.

    Raises:
        ValueError: a target that is not the name of a linear layer there, or an architecture without any (GPT-2).
    """
    if not lora.rank:
        return
    from peft import LoraConfig, inject_adapter_in_model

    layers = decoder_layers(causal_lm)
    linear = {name.rpartition(".")[2] for name, module in layers.named_modules() if isinstance(module, torch.nn.Linear)}
    if not linear:
        raise ValueError(
            f"lora.rank={lora.rank}: the decoder layers of {type(causal_lm).__name__} have no linear layers to adapt"
        )
    check(lora, "target_modules", linear.issuperset(lora.target_modules), f"among {', '.join(sorted(linear))}")
    config = LoraConfig(r=lora.rank, lora_alpha=lora.alpha, target_modules=list(lora.target_modules) or sorted(linear))
    causal_lm.requires_grad_(False)
    with torch.random.fork_rng(devices=[]), _weights_in_memory(layers):  # the run's own random state must not depend on adapters
        torch.manual_seed(seed)
        inject_adapter_in_model(config, layers, adapter_name=_ADAPTER)


@contextlib.contextmanager
def _weights_in_memory(layers: nn.Module) -> Iterator[None]:
    """peft puts adapters where a layer's weight is. Where that is the meta device, which holds no values, an empty weight stands in."""
    unread = {
        module: module.weight for module in layers.modules() if isinstance(module, torch.nn.Linear) and module.weight.is_meta
    }
    for module, weight in unread.items():
        module.weight = torch.nn.Parameter(torch.empty(0, dtype=weight.dtype), requires_grad=False)
    yield
    for module, weight in unread.items():
        module.weight = weight


def merged_weights(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """(name, weight) of every parameter and saved buffer as if there were no adapters: theirs are added to the weights beside them.

    Merged are whole tensors, one layer at a time: the result is the same however many ranks hold parts of them. Under FSDP2 that
    makes it a collective.
    """
    for name, parameter in model.named_parameters():
        if ".lora_" in name:
            continue
        weight = whole(parameter.detach())
        if name.endswith(f"{BASE}weight"):
            layer: Any = model.get_submodule(name.removesuffix(f"{BASE}weight"))
            a, b = (whole(part[_ADAPTER].weight.detach()) for part in (layer.lora_A, layer.lora_B))
            weight = weight + layer.scaling[_ADAPTER] * (b @ a)
        yield name.replace(BASE, "."), weight
    saved = model.state_dict().keys()
    yield from ((name, buffer) for name, buffer in model.named_buffers() if name in saved)


def merge_adapters(causal_lm: nn.Module) -> None:
    """The opposite of ``add_adapters``, in place: the adapters go, what they learned stays in the weights; without any, nothing."""
    for name, module in list(causal_lm.named_modules()):
        if hasattr(module, "lora_A"):
            module.merge()
            causal_lm.set_submodule(name, module.get_base_layer())


def like(tensor: Tensor, other: Tensor) -> Tensor:
    """A whole tensor, or of it the part that FSDP2 keeps of ``other`` on this rank; every rank holds the whole one."""
    from torch.distributed.tensor import DTensor, distribute_tensor

    if not isinstance(other, DTensor):
        return tensor
    return distribute_tensor(tensor, other.device_mesh, other.placements, src_data_rank=None)


def whole(tensor: Tensor) -> Tensor:
    """All of a tensor of which FSDP2 holds a part on each rank; any other as it is."""
    from torch.distributed.tensor import DTensor, Shard

    if not isinstance(tensor, DTensor):
        return tensor
    if tensor.device.type == "cpu" and tensor.placements == (Shard(0),):
        return _gathered(tensor.to_local(), tensor.shape, tensor.device_mesh.get_group())
    return tensor.full_tensor()


def _gathered(part: Tensor, shape: torch.Size, group: Any) -> Tensor:
    """``full_tensor`` on the CPU, where gloo gathers through a copy of the whole: here each rank writes to its place in all others."""
    import torch.distributed as dist

    full = part.new_empty(shape)
    for rank, place in enumerate(full.chunk(dist.get_world_size(group))):
        if rank == dist.get_rank(group):
            place.copy_(part)
        dist.broadcast(place, group=group, group_src=rank)
    return full
