"""Verification: does ``PolicyModel`` give the log-probs that the model's own forward pass gives?

    gap = max over tokens of |PolicyModel's log-prob - log softmax(causal_lm(...).logits)|

Two things can go wrong with an architecture that nobody has tried. The model may change its logits after the head (soft-capping,
scaling), which ``PolicyModel`` would miss; and rows that share a sequence may see each other (through a window, a recurrence, a
position bias). The first shows on a few tokens. The second shows only if windows are shorter than the rows, so it is tested on a small
copy: the same classes, a few layers of every kind, random weights, windows of a few tokens. A layout that shares sequences is used only
if it passes; ``padded`` gives the model the rows as they are and is always right.
"""

from __future__ import annotations

import copy
import logging
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from rltoolkit.policy.attention import has_variable_length
from rltoolkit.policy.layout import default_layout
from rltoolkit.policy.policy import PolicyModel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

log = logging.getLogger(__name__)

TOLERANCE = 1e-3
"""In nats. Rounding stays below 1e-5 in float32; what leaks between the copy's rows is above 1e-2."""
_TOLERANCE_BELOW_FLOAT32 = 0.05
_LARGE = 2_000_000_000
"""Parameters. Above, the few tokens are tried on the copy alone: a pass over the model would take seconds. So they are of a model
whose weights are not read yet."""
_LARGEST_COPY = 2_000_000
"""Parameters: a config that does not get smaller than this has sizes unknown here."""
_WINDOW = 3
_VOCABULARY = 64
_LAYERS = 2

# Sizes of the copy, by transformers' names. Heads are 8 wide, so that rotary embeddings of a quarter of a head still have a pair.
_SIZES = {
    "vocab_size": _VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_attention_heads": 4,
    "head_dim": 8,
    "global_head_dim": 8,
    "rotary_dim": 8,
    "ffn_hidden_size": 32,
    "embedding_size": 32,
    "kv_lora_rank": 8,
    "q_lora_rank": 8,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "qk_head_dim": 16,
    "v_head_dim": 8,
    "query_pre_attn_scalar": 8,
    "moe_intermediate_size": 16,
    "shared_expert_intermediate_size": 16,
    "num_experts": 4,
    "num_local_experts": 4,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "n_group": 1,
    "topk_group": 1,
    "first_k_dense_replace": 1,
}
_WINDOWED = re.compile(r"window(_size)?$|attention_chunk_size|local_attention$")


def verified_layout(causal_lm: Any) -> str:
    """The fastest layout in which ``PolicyModel`` is right about a transformers causal LM. Leaves torch's random state alone.

    Raises:
        ValueError: it is right in none; the message names the architecture and the gap.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # matrices this small are slower on several
    try:
        return _verified_layout(causal_lm)
    finally:
        torch.set_num_threads(threads)


def _verified_layout(causal_lm: Any) -> str:
    architecture, layout = type(causal_lm).__name__, default_layout(causal_lm.config)
    large = sum(p.numel() for p in causal_lm.parameters()) > _LARGE or any(p.is_meta for p in causal_lm.parameters())
    small = _small_copy(causal_lm) if large or layout != "padded" else None
    if layout != "padded" and (fault := "no small copy of it can be built" if small is None else _fault(small, layout, *_rows())):
        log.warning("%s: the layout %r cannot be used for this architecture (%s); using 'padded'", architecture, layout, fault)
        layout = "padded"
    with _runs_on_cpu(causal_lm):
        fault = _fault(small if large and small is not None else causal_lm, "padded", *_few_tokens())
    if fault:
        raise ValueError(
            f"{architecture} (model_type {causal_lm.config.model_type!r}) is not supported: log-probs taken from its backbone and "
            f"head are not those of its own forward pass ({fault})"
        )
    return layout


def _fault(causal_lm: Any, layout: str, input_ids: Tensor, mask: Tensor) -> str | None:
    """What is wrong with ``PolicyModel`` in a layout, in a few words; None where it is right."""
    half = next(causal_lm.parameters()).dtype in (torch.bfloat16, torch.float16)
    try:
        gap = log_prob_gap(causal_lm, layout, input_ids, mask)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None if gap < (_TOLERANCE_BELOW_FLOAT32 if half else TOLERANCE) else f"they differ by {gap:.2g}"


@torch.no_grad()
def log_prob_gap(causal_lm: Any, layout: str, input_ids: Tensor, mask: Tensor) -> float:
    """Largest difference in nats between ``PolicyModel`` and the full logits, on the tokens under the mask [N, T]."""
    device = causal_lm.get_output_embeddings().weight.device
    input_ids, mask = input_ids.to(device), mask.to(device)
    was_training = causal_lm.training
    causal_lm.eval()
    try:
        ours = PolicyModel(causal_lm, layout=layout)(input_ids, mask).log_probs[mask]
        logits = causal_lm(input_ids=input_ids, use_cache=False).logits[:, :-1]
    finally:
        causal_lm.train(was_training)
    theirs = logits.to(ours.dtype).log_softmax(-1).gather(-1, input_ids[:, 1:, None]).squeeze(-1)[mask[:, 1:]]
    return (ours - theirs).abs().max().nan_to_num(nan=float("inf")).item()


def _rows() -> tuple[Tensor, Tensor]:
    """input_ids and mask [6, 12]: prompts of 6 and 7 tokens, responses of 5, 4 and 2 to each."""
    input_ids, mask = torch.zeros(6, 12, dtype=torch.int64), torch.zeros(6, 12, dtype=torch.bool)
    spread = torch.arange(12) * 37
    for row in range(6):
        prompt, response = 6 + row // 3, (5, 4, 2)[row % 3]
        input_ids[row, :prompt] = (spread[:prompt] + 11 * (row // 3) + 5) % _VOCABULARY
        input_ids[row, prompt : prompt + response] = (spread[:response] * 3 + 17 * row + 1) % _VOCABULARY
        mask[row, prompt : prompt + response] = True
    return input_ids, mask


def _few_tokens() -> tuple[Tensor, Tensor]:
    """input_ids and mask [1, 4]: enough to see what happens after the head."""
    return torch.tensor([[1, 2, 3, 1]]), torch.tensor([[False, True, True, True]])


@contextmanager
def _runs_on_cpu(causal_lm: Any) -> Iterator[None]:
    """A model on the CPU computes with sdpa meanwhile: flash attention runs on GPUs alone."""
    attention = causal_lm.config._attn_implementation
    borrowed = has_variable_length(attention) and next(causal_lm.parameters()).device.type == "cpu"
    if borrowed:
        causal_lm.set_attn_implementation("sdpa")
    try:
        yield
    finally:
        if borrowed:
            causal_lm.set_attn_implementation(attention)


def _small_copy(causal_lm: Any) -> Any:
    """A random model of the same architecture, see above; None where its config cannot be shrunk."""
    from transformers import AutoModelForCausalLM

    whole, text = causal_lm.config, causal_lm.config.get_text_config()
    try:
        config = small_config(text)
        if has_variable_length(whole._attn_implementation):
            config._attn_implementation = "sdpa"  # it builds packed rows' mask from their positions, as flash attention does
        build = type(causal_lm) if text is whole else AutoModelForCausalLM.from_config
        with torch.device("meta"):
            size = sum(parameter.numel() for parameter in build(config).parameters())
        if size > _LARGEST_COPY:
            return None
        with torch.random.fork_rng(devices=[]), torch.device("cpu"):
            torch.manual_seed(0)
            model = build(config).float().eval()
            for parameter in model.parameters():
                if parameter.ndim > 1:  # strong enough that every token depends on all that it sees
                    torch.nn.init.normal_(parameter, std=parameter.shape[-1] ** -0.5)
            log_prob_gap(model, "padded", *_rows())
    except Exception as error:
        log.debug("%s: no small copy: %s: %s", type(causal_lm).__name__, type(error).__name__, error)
        return None
    return model


def small_config(config: Any) -> Any:
    """A copy of a text model's config with small sizes, short windows, and the first layers of each kind."""
    config = copy.deepcopy(config)
    layers, heads, key_value_heads = (
        config.num_hidden_layers,
        config.num_attention_heads,
        getattr(config, "num_key_value_heads", 0),
    )
    kept = _layers_of_each_kind(config, layers)
    for name, value in list(vars(config).items()):
        if isinstance(value, list) and len(value) == layers:
            setattr(config, name, [value[index] for index in kept])
        elif _WINDOWED.search(name) and isinstance(value, int) and value is not True and value > _WINDOW:
            setattr(config, name, _WINDOW)
        elif name.endswith("token_id") and value is not None:
            setattr(config, name, 0)
    for name, size in _SIZES.items():
        value = getattr(config, name, None)
        if isinstance(value, int) and value is not True and value > 0 and value != size:
            setattr(config, name, size)
    if key_value_heads:
        config.num_key_value_heads = _SIZES["num_attention_heads"] if key_value_heads == heads else min(key_value_heads, 2)
    config.num_hidden_layers = len(kept)
    if getattr(config, "rope_parameters", None):
        config.rope_parameters = _plain_rope(config.rope_parameters)
    return config


def _layers_of_each_kind(config: Any, layers: int) -> list[int]:
    """The first layers, and the first of each further kind, as the config's lists of one entry per layer tell them apart."""
    lists = [value for value in vars(config).values() if isinstance(value, list) and len(value) == layers]
    kinds: dict[str, int] = {}
    for index in range(layers):
        kinds.setdefault(str([each[index] for each in lists]), index)
    return sorted({*range(min(_LAYERS, layers)), *kinds.values()})


def _plain_rope(parameters: dict[str, Any]) -> dict[str, Any]:
    """Rotary embeddings without scaling by length: its factors belong to the full size of a head."""
    if any(isinstance(value, dict) for value in parameters.values()):
        return {kind: _plain_rope(value) if isinstance(value, dict) else value for kind, value in parameters.items()}
    numbers = {name: value for name, value in parameters.items() if not isinstance(value, list)}
    return {**numbers, "rope_type": "default"}
