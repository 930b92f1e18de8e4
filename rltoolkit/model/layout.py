"""Layouts: how the rows of a micro-batch lie in the sequences that the model reads.

Only tokens that an asked-for token depends on are laid out: a row ends with its last asked token, for attention is causal.
What comes before its first asked token is its prompt. Every layout gives the same hidden states up to rounding; they differ in
how many tokens are computed:

    padded           rows one below the other, each as long as the longest
    packed           rows one after the other in a single sequence, positions starting again at 0: no padding; meant for
                     attention kernels of variable length, others pay for the square of the whole sequence
    shared_prompts   rows with the same prompt, as a group's responses have, in one sequence that holds the prompt once; a mask
                     hides the responses from each other. For prompts of 200 and responses of 15 tokens in groups of 8 that
                     is 320 tokens instead of 1,720.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

JOINT_TOKENS = 1024
"""Rows join a sequence up to this length: the mask, and attention under it, grow with the length's square."""


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

    sequences: Callable[[Tensor, Tensor], list[list[int]]]
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


def sequence_lengths(sequences: list[list[int]], mask: Tensor) -> list[int]:
    """Tokens of each sequence; rows that share one have their prompt in it once."""
    needed, prompts = needed_lengths(mask).tolist(), prompt_lengths(mask).tolist()
    return [prompts[rows[0]] + sum(needed[row] - prompts[row] for row in rows) for rows in sequences]


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


def _each_alone(input_ids: Tensor, mask: Tensor) -> list[list[int]]:
    return [[row] for row in range(len(mask))]


def _by_prompt(input_ids: Tensor, mask: Tensor) -> list[list[int]]:
    """Rows of equal prompts together, where the prompt is the longer part: short ones are not worth a mask."""
    open_sequence: dict[tuple[int, ...], tuple[list[int], int]] = {}
    sequences: list[list[int]] = []
    needed, prompts, tokens = needed_lengths(mask).tolist(), prompt_lengths(mask).tolist(), input_ids.tolist()
    for row, (end, prompt) in enumerate(zip(needed, prompts, strict=True)):
        response = end - prompt
        key = tuple(tokens[row][:prompt])
        rows, length = open_sequence.get(key, ([], 0))
        if rows and response <= prompt and length + response <= JOINT_TOKENS:
            rows.append(row)
            open_sequence[key] = (rows, length + response)
        else:
            sequences.append([row])
            if response <= prompt:
                open_sequence[key] = (sequences[-1], end)
    return sequences


def _arrange_shared(input_ids: Tensor, mask: Tensor) -> Arranged:
    sequences = _by_prompt(input_ids, mask)
    if all(len(rows) == 1 for rows in sequences):
        return _arrange_padded(input_ids, mask)
    needed, prompts = needed_lengths(mask).tolist(), prompt_lengths(mask).tolist()
    length = max(1, *sequence_lengths(sequences, mask))
    shape = (len(sequences), length)
    device = input_ids.device
    joint, position = input_ids.new_zeros(shape), input_ids.new_zeros(shape)
    # 0: the prompt, seen by all that follow; 1, 2, ...: the responses, each seen by itself; -1: padding, likewise
    part = torch.full(shape, -1, device=device)
    place = torch.zeros(mask.shape, dtype=torch.int64, device=device)
    for sequence, rows in enumerate(sequences):
        prompt = prompts[rows[0]]
        joint[sequence, :prompt] = input_ids[rows[0], :prompt]
        position[sequence, :prompt] = torch.arange(prompt, device=device)
        part[sequence, :prompt] = 0
        start = prompt
        for number, row in enumerate(rows, 1):
            end = start + needed[row] - prompt
            joint[sequence, start:end] = input_ids[row, prompt : needed[row]]
            position[sequence, start:end] = torch.arange(prompt, needed[row], device=device)
            part[sequence, start:end] = number
            place[row, :prompt] = sequence * length + torch.arange(prompt, device=device)
            place[row, prompt : needed[row]] = sequence * length + torch.arange(start, end, device=device)
            start = end
    query, key = part.unsqueeze(2), part.unsqueeze(1)
    visible = ((key == 0) | (key == query)).tril()
    return Arranged(joint, position, visible.unsqueeze(1), place)


def default_layout(config: Any) -> str:
    """The name of the layout that suits a transformers model config on this machine.

    ``packed`` where the model runs a variable-length attention kernel; ``padded`` where some layer does not attend to the
    whole past (a sliding window, a recurrence), which a mask over shared prompts would overrule; else ``shared_prompts``.
    """
    if "flash" in (getattr(config, "_attn_implementation", None) or ""):
        return "packed"
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    return "shared_prompts" if kinds == {"full_attention"} else "padded"


LAYOUTS: dict[str, Layout] = {
    "padded": Layout(_each_alone, _arrange_padded, pads=True),
    "packed": Layout(_each_alone, _arrange_packed, pads=False),
    "shared_prompts": Layout(_by_prompt, _arrange_shared, pads=True),
}
