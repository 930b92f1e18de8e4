"""Layouts: how the rows of a micro-batch lie in the sequences that the model reads.

Only tokens that an asked-for token depends on are laid out: a row ends with its last asked token, for attention is causal.
What comes before its first asked token is its prompt. Every layout gives the same hidden states up to rounding; they differ in
how many tokens are computed:

    padded   rows one below the other, each as long as the longest
    packed   rows one after the other in a single sequence, positions starting again at 0: no padding; meant for attention
             kernels of variable length, others pay for the square of the whole sequence
    joint    as many rows in a sequence as fit into the longest; a mask hides them from each other. Rows with the same prompt,
             as a group's responses have, need it only once: for prompts of 200 and responses of 15 tokens in groups of 8 that
             is 320 tokens instead of 1,720
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

JOINT_TOKENS = 1024
"""Rows join a sequence up to this length: the mask, and attention under it, grow with the length's square."""


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
    """[N, T] int64: where in the S * L hidden states the token t of row n is; anything on tokens that nobody needs"""


class Layout(NamedTuple):
    """One way to lay rows out."""

    sequences: Callable[[Tensor, Tensor], list[Joined]]
    """(input_ids [N, T], mask [N, T]) -> the rows that share each sequence"""
    arrange: Callable[[Tensor, Tensor], Arranged]
    """(input_ids [N, T], mask [N, T]) -> what the model reads"""
    pads: bool
    """whether a batch of sequences is as long as its longest; otherwise it costs the sum of their lengths"""


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
    lengths = needed_lengths(mask).clamp(min=1).unsqueeze(1)  # a sequence of no tokens would be no sequence
    position = torch.arange(mask.shape[1], device=mask.device)
    used = position < lengths
    ends = lengths.cumsum(0)
    place = (ends - lengths) + torch.minimum(position, lengths - 1)
    return Arranged(input_ids[used].unsqueeze(0), position.expand_as(used)[used].unsqueeze(0), None, place)


def _each_alone(input_ids: Tensor, mask: Tensor) -> list[Joined]:
    return [Joined([row], tokens) for row, tokens in enumerate(needed_lengths(mask).tolist())]


def _trees(input_ids: Tensor, mask: Tensor) -> list[Joined]:
    """Rows of equal prompts together, where the prompt is the longer part: a short one is not worth a longer sequence."""
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
    """Trees into sequences as long as the longest of them: longest first, each where the least room is left over."""
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
    # of each row: its tree, and where its token 0 lies, or would lie were the response's place that of the whole row
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
    # a token belongs to a part, its row's response or its tree's prompt; it sees this part and the prompt
    parts = torch.where(in_prompt, -tree_ids, row_ids + 1)
    flat = place[used]  # a shared prompt is written once for each of its rows, the same every time

    def laid_out(values: Tensor) -> Tensor:
        return values.new_zeros(len(forests) * length).index_copy(0, flat, values.expand(mask.shape)[used]).view(-1, length)

    part, prompt = laid_out(parts), laid_out(-tree_ids)  # both 0 on padding, which so sees itself
    key, query = part.unsqueeze(1), part.unsqueeze(2)
    visible = ((key == query) | (key == prompt.unsqueeze(2))).tril()
    return Arranged(laid_out(input_ids), laid_out(position), visible.unsqueeze(1), place.masked_fill(~used, 0))


def default_layout(config: Any) -> str:
    """The name of the layout that suits a transformers model config on this machine.

    ``packed`` where the model runs a variable-length attention kernel; ``padded`` where some layer does not attend to the
    whole past (a sliding window, a recurrence), which a mask over joint rows would overrule; else ``joint``.
    """
    if "flash" in (getattr(config, "_attn_implementation", None) or ""):
        return "packed"
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    return "joint" if kinds == {"full_attention"} else "padded"


LAYOUTS: dict[str, Layout] = {
    "padded": Layout(_each_alone, _arrange_padded, pads=True),
    "packed": Layout(_each_alone, _arrange_packed, pads=False),
    "joint": Layout(_joint_sequences, _arrange_joint, pads=True),
}
