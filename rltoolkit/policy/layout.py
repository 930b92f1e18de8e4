"""Layouts: how the rows of a micro-batch lie in the sequences that the model reads.

A row ends with the last token whose log-prob is asked for: attention is causal, so later tokens do not matter. The tokens before
the first one asked for are the row's prompt. All layouts give the same hidden states up to rounding. They differ in how many tokens
are computed:

    padded   one row per sequence, padded to the longest row
    packed   all rows one after the other in one sequence, without padding; positions restart at 0. For attention kernels of variable
             length: other kernels cost the square of the whole sequence
    joint    several rows per sequence, as many as fit into the length of the longest; a mask hides them from each other. Rows with
             the same prompt (a group's responses) share it: prompts of 200 tokens with 8 responses of 15 take 320 tokens, not 1,720
"""

from __future__ import annotations

import re
from bisect import bisect_left, insort
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rltoolkit.policy.attention import has_variable_length

JOINT_TOKENS = 1024
"""No joint sequence gets longer than this: the cost of the mask, and of attention under it, grows with the square of the length."""

_ATTENTION = {"full_attention", "sliding_attention", "chunked_attention"}
_STATE = re.compile("mamba|ssm|conv|lru|state_size|block_types?$|linear_(attn|num|head)|xlstm|rwkv")
"""Names of config fields that only models with a state have."""
_WINDOWS = {
    "sliding_window",
    "sliding_window_size",
    "attention_window_size",
    "window_size",
    "keep_window_size",
    "local_attention",
    "attention_chunk_size",
}


class Joined(NamedTuple):
    """Rows that the layout keeps in one sequence."""

    rows: list[int]
    tokens: int


class Arranged(NamedTuple):
    """What the model reads for N rows, and where to find the rows in what it returns."""

    input_ids: Tensor
    """[S, L] int64"""
    position_ids: Tensor | None
    """[S, L] int64; None: each sequence counts from 0"""
    attention_mask: Tensor | None
    """[S, 1, L, L] bool, True where a query may look at a key; None: causal"""
    place: Tensor
    """[N, T] int64: index of token t of row n in the S * L hidden states; arbitrary for tokens that nobody needs"""
    lengths: Tensor | None = None
    """[N] int64, of the rows that lie in one sequence one after the other; None in other layouts"""


class Layout(NamedTuple):
    """One way to lay rows out."""

    sequences: Callable[[Tensor, Tensor], list[Joined]]
    """(input_ids [N, T], mask [N, T]) -> the rows that share each sequence"""
    arrange: Callable[[Tensor, Tensor], Arranged]
    """(input_ids [N, T], mask [N, T]) -> what the model reads"""
    pads: bool
    """True: every sequence of a batch costs as much as the longest; False: a batch costs the sum of the lengths"""


def needed_lengths(mask: Tensor) -> Tensor:
    """[N, T] bool -> [N]: tokens up to the last one asked for, 0 in rows without any."""
    return (mask * torch.arange(1, mask.shape[-1] + 1, device=mask.device)).amax(-1)


def prompt_lengths(mask: Tensor) -> Tensor:
    """[N, T] bool -> [N]: tokens before the first one asked for, 0 in rows without any."""
    return mask.int().argmax(-1)


def _arrange_padded(input_ids: Tensor, mask: Tensor) -> Arranged:
    length = max(int(needed_lengths(mask).max()), 1)
    rows, tokens = mask.shape
    start = torch.arange(rows, device=mask.device).unsqueeze(1) * length
    return Arranged(input_ids[:, :length], None, None, start + torch.arange(tokens, device=mask.device).clamp(max=length - 1))


def _arrange_packed(input_ids: Tensor, mask: Tensor) -> Arranged:
    lengths = needed_lengths(mask).clamp(min=1).unsqueeze(1)  # attention kernels reject a sequence of length 0
    position = torch.arange(mask.shape[1], device=mask.device)
    used = position < lengths
    ends = lengths.cumsum(0)
    place = (ends - lengths) + torch.minimum(position, lengths - 1)
    return Arranged(input_ids[used].unsqueeze(0), position.expand_as(used)[used].unsqueeze(0), None, place, lengths.squeeze(1))


def _each_alone(input_ids: Tensor, mask: Tensor) -> list[Joined]:
    return [Joined([row], tokens) for row, tokens in enumerate(needed_lengths(mask).tolist())]


def _trees(input_ids: Tensor, mask: Tensor) -> list[Joined]:
    """Group rows with equal prompts if the prompt is at least as long as the response; sharing a short prompt saves too little."""
    growing: dict[tuple[int, ...], int] = {}
    trees: list[Joined] = []
    needed, prompts, tokens = needed_lengths(mask).tolist(), prompt_lengths(mask).tolist(), input_ids.tolist()
    for row, (end, prompt) in enumerate(zip(needed, prompts, strict=True)):
        response, key = end - prompt, tuple(tokens[row][:prompt])
        index = growing.get(key) if response <= prompt else None
        if index is not None and trees[index].tokens + response <= JOINT_TOKENS:
            trees[index] = Joined([*trees[index].rows, row], trees[index].tokens + response)
        else:
            if response <= prompt:
                growing[key] = len(trees)
            trees.append(Joined([row], end))
    return trees


def _forests(trees: list[Joined]) -> list[list[Joined]]:
    """Pack trees into sequences as long as the longest tree: longest first, each where it leaves the least room."""
    length = max(tree.tokens for tree in trees)
    if length > JOINT_TOKENS:
        return [[tree] for tree in trees]
    forests: list[list[Joined]] = []
    room: list[tuple[int, int]] = []  # (tokens left, index of the sequence), ascending
    for tree in sorted(trees, key=lambda tree: -tree.tokens):
        tightest = bisect_left(room, (tree.tokens, 0))
        left, index = room.pop(tightest) if tightest < len(room) else (length, len(forests))
        if index == len(forests):
            forests.append([])
        forests[index].append(tree)
        insort(room, (left - tree.tokens, index))
    return forests


def _joint_sequences(input_ids: Tensor, mask: Tensor) -> list[Joined]:
    return [
        Joined([row for tree in forest for row in tree.rows], sum(tree.tokens for tree in forest))
        for forest in _forests(_trees(input_ids, mask))
    ]


def _arrange_joint(input_ids: Tensor, mask: Tensor) -> Arranged:
    forests = _forests(_trees(input_ids, mask))
    if all(len(forest) == len(forest[0].rows) == 1 for forest in forests):
        return _arrange_padded(input_ids, mask)
    needed, prompts = needed_lengths(mask), prompt_lengths(mask)
    length = max(1, *(sum(tree.tokens for tree in forest) for forest in forests))
    response_lengths, prompt_of_row = (needed - prompts).tolist(), prompts.tolist()
    # for each row: its tree, the offset of its prompt, and the offset that makes `offset + t` right for response tokens
    tree_of, prompt_at, response_at = ([0] * len(mask) for _ in range(3))
    number = 0
    for sequence, forest in enumerate(forests):
        end = sequence * length
        for tree in forest:
            number, start, end = number + 1, end, end + prompt_of_row[tree.rows[0]]
            for row in tree.rows:
                tree_of[row], prompt_at[row], response_at[row] = number, start, end - prompt_of_row[row]
                end += response_lengths[row]

    device = mask.device
    position = torch.arange(mask.shape[1], device=device).expand(mask.shape)
    in_prompt, used = position < prompts.unsqueeze(1), position < needed.unsqueeze(1)
    tree_ids, prompt_starts, response_starts = torch.tensor([tree_of, prompt_at, response_at], device=device).unsqueeze(-1)
    place = torch.where(in_prompt, prompt_starts, response_starts) + position
    row_ids = torch.arange(len(mask), device=device).unsqueeze(1)
    # part id: negative for a shared prompt, positive for a response; a token attends to its own part and to its prompt
    parts = torch.where(in_prompt, -tree_ids, row_ids + 1)
    flat = place[used]  # a shared prompt is written several times, always with the same values

    def laid_out(values: Tensor) -> Tensor:
        return values.new_zeros(len(forests) * length).index_copy(0, flat, values.expand(mask.shape)[used]).view(-1, length)

    part, prompt = laid_out(parts), laid_out(-tree_ids)  # both 0 on padding: it sees itself, so no row of the mask is empty
    key, query = part.unsqueeze(1), part.unsqueeze(2)
    visible = ((key == query) | (key == prompt.unsqueeze(2))).tril()
    return Arranged(laid_out(input_ids), laid_out(position), visible.unsqueeze(1), place.masked_fill(~used, 0))


def default_layout(config: Any) -> str:
    """The name of the layout that suits a transformers model config on this machine, as far as its fields tell.

    ``padded`` where a layer carries a state from token to token (recurrence, convolution, linear attention): rows in one sequence
    would leak into each other. ``packed`` where the model runs a variable-length attention kernel. ``padded`` where a layer sees
    only a window or chunk of the past, which a mask over joint rows would overrule. Else ``joint``. ``verify.py`` puts it to the test.
    """
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    fields = {name: value for name, value in vars(text).items() if value not in (None, False, 0)}
    kinds = set(fields.get("layer_types") or ())
    if kinds - _ATTENTION or any(_STATE.search(name) for name in fields):
        return "padded"
    if has_variable_length(getattr(config, "_attn_implementation", None)):
        return "packed"
    windows = kinds != {"full_attention"} if kinds else not _WINDOWS.isdisjoint(fields)
    return "padded" if windows or fields.get("alibi") else "joint"


LAYOUTS: dict[str, Layout] = {
    "padded": Layout(_each_alone, _arrange_padded, pads=True),
    "packed": Layout(_each_alone, _arrange_packed, pads=False),
    "joint": Layout(_joint_sequences, _arrange_joint, pads=True),
}
