"""Shape checks that every objective component shares, so that a wrong tensor is named before it broadcasts."""

from __future__ import annotations

import torch
from torch import Tensor


def check_tokens(component: object, **tensors: Tensor) -> None:
    """Require tensors [N, T], rows by tokens, all of the first one's shape; one called ``mask`` must be bool.

    Only shapes and dtypes are read, never values: it costs no synchronisation and leaves no trace under torch.compile.

    Raises:
        ValueError: for instance ``clip_strategy (symmetric): advantages has shape [3], expected [3, 5], as log_probs has``.
    """
    reference, shape = None, torch.Size()
    for name, tensor in tensors.items():
        if reference is None:
            reference, shape = name, tensor.shape
            if tensor.ndim != 2:
                raise ValueError(f"{label(component)}: {name} has shape {list(shape)}, expected [N, T], rows by tokens")
        elif tensor.shape != shape:
            raise ValueError(
                f"{label(component)}: {name} has shape {list(tensor.shape)}, expected {list(shape)}, as {reference} has"
            )
        if name == "mask" and tensor.dtype != torch.bool:
            raise ValueError(f"{label(component)}: mask has dtype {tensor.dtype}, expected torch.bool")


def label(component: object) -> str:
    """How an error calls a component: ``clip_strategy (symmetric)``."""
    if hasattr(component, "kind"):
        return f"{component.kind} ({getattr(component, 'name', type(component).__name__)})"
    return type(component).__name__
