"""Configurations of models on the hub, for planning a run where the hub cannot be reached: what their config.json says."""

from __future__ import annotations

from typing import Any

from rltoolkit.policy.loading import quiet_transformers

# hidden_size, num_hidden_layers, num_attention_heads, num_key_value_heads, intermediate_size, vocab_size, max_position_embeddings
_QWEN2_5 = {
    "Qwen/Qwen2.5-0.5B": (896, 24, 14, 2, 4864, 151936, 32768),
    "Qwen/Qwen2.5-1.5B": (1536, 28, 12, 2, 8960, 151936, 131072),
    "Qwen/Qwen2.5-3B": (2048, 36, 16, 2, 11008, 151936, 32768),
    "Qwen/Qwen2.5-7B": (3584, 28, 28, 4, 18944, 152064, 131072),
    "Qwen/Qwen2.5-14B": (5120, 48, 40, 8, 13824, 152064, 131072),
    "Qwen/Qwen2.5-32B": (5120, 64, 40, 8, 27648, 152064, 131072),
}
_INSTRUCT_CONTEXT = 32768
_TIED = 151936
"""the vocabulary of those of up to 3B parameters, whose head is the embeddings"""


def published(name: str) -> Any:
    """The configuration of a hub name; None of one that is not listed here."""
    base = name.removesuffix("-Instruct")
    if base not in _QWEN2_5:
        return None
    hidden, layers, heads, kv_heads, intermediate, vocabulary, context = _QWEN2_5[base]
    return quiet_transformers().Qwen2Config(
        vocab_size=vocabulary, hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=heads,
        num_key_value_heads=kv_heads, intermediate_size=intermediate, tie_word_embeddings=vocabulary == _TIED,
        max_position_embeddings=context if name == base else _INSTRUCT_CONTEXT,
    )  # fmt: skip
