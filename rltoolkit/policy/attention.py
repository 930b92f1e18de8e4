"""Attention over rows of different lengths that lie in one sequence, with the flash kernels that torch brings along.

    out[t] = sum over s of softmax(q[t] k[s] scale) v[s],   s in t's row, s <= t

flash-attn does the same but has to be compiled for the machine. Two other ways cost more on a GPU: a mask over the sequence costs the
square of its length, and cuDNN, which torch prefers for rows that are padded, builds a new plan for every new shape. Rollouts have a
new shape in every micro-batch.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.varlen import varlen_attn

VARLEN = "varlen"
"""The name under which transformers knows it."""

# From torch 2.12 on heads share keys only where asked to; before, they always did.
_SHARED_KEYS: dict[str, Any] = {"enable_gqa": True} if "enable_gqa" in inspect.signature(varlen_attn).parameters else {}


def has_variable_length(attention: str | None) -> bool:
    """Whether an attention implementation keeps the rows of one sequence apart by their lengths, and needs no mask."""
    return attention == VARLEN or "flash" in (attention or "")


def kernel_runs_here() -> bool:
    """Torch's flash kernels need a GPU of compute capability 8.0 (Ampere) or later; in half precision alone."""
    return torch.cuda.is_available() and torch.cuda.get_device_capability() >= (8, 0)


def suits(causal_lm: Any) -> bool:
    """Whether the model's attention can be exchanged, is all causal (no images) and plain: no soft cap on its logits, no sinks."""
    config = causal_lm.config
    exchangeable = causal_lm._supports_attention_backend and causal_lm._supports_flash_attn
    soft_cap = getattr(config, "attn_logit_softcapping", None)
    sinks = any(name.endswith("sinks") for name, _ in causal_lm.named_parameters())
    return bool(exchangeable and config.get_text_config() is config and not soft_cap and not sinks)


def use_varlen(causal_lm: Any) -> None:
    """Let a transformers model compute with ``attend``."""
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface, flash_attention_mask

    AttentionInterface.register(VARLEN, attend)
    AttentionMaskInterface.register(VARLEN, flash_attention_mask)
    causal_lm.set_attn_implementation(VARLEN)


def lengths_for_kernel(lengths: Tensor) -> dict[str, Any]:
    """Row lengths [N] of one sequence as transformers hands them to attention kernels: where rows end, and the longest."""
    ends = torch.nn.functional.pad(lengths.cumsum(0), (1, 0)).int()
    longest = int(lengths.max())
    return {"cu_seq_lens_q": ends, "cu_seq_lens_k": ends, "max_length_q": longest, "max_length_k": longest}


def attend(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    cu_seq_lens_q: Tensor | None = None,
    max_length_q: int | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Causal attention in transformers' signature: query, key and value [S, heads, L, width] to [S, L, heads, width].

    Without lengths every sequence is one row. Padding on the right needs no mask: no token looks to its right.
    """
    sequences, _heads, length, _width = query.shape
    if cu_seq_lens_q is None or max_length_q is None:
        cu_seq_lens_q = torch.arange(sequences + 1, dtype=torch.int32, device=query.device) * length
        max_length_q = length
    queries, keys, values = (states.transpose(1, 2).flatten(0, 1) for states in (query, key, value))
    ends, longest = cu_seq_lens_q, max_length_q
    window = ((sliding_window or 0) - 1, 0)  # tokens to the left and to the right; -1: no limit
    out = varlen_attn(queries, keys, values, ends, ends, longest, longest, scale=scaling, window_size=window, **_SHARED_KEYS)
    assert isinstance(out, Tensor)
    return out.unflatten(0, (sequences, length)), None
