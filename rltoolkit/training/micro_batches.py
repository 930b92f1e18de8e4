"""Micro-batches: sequences dealt to the ranks and cut so that each piece stays within a token budget.

Sequences are sorted by length first, so those of a micro-batch are about equally long and padding is small. Every rank computes
the same plan from the same lengths, and gets the same number of micro-batches (FSDP's collectives must pair up); a rank that
runs out gets empty ones.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from tensordict import TensorDict
from torch import Tensor

from rltoolkit.policy.layout import Layout
from rltoolkit.rollout_batch import row_lengths


def micro_batches_of_ranks(
    input_ids: Tensor, mask: Tensor, layout: Layout, budget_tokens: int, world_size: int = 1
) -> list[list[Tensor]]:
    """For each rank, its micro-batches as indices of rows [N, T]; rows that share a sequence of the layout stay together.

    Rows without a token under the mask (a shaper has emptied them) are in none. Without any, no rank has a micro-batch.
    """
    asked = mask.any(-1).nonzero().squeeze(-1)
    if not len(asked):
        return [[] for _ in range(world_size)]
    sequences = layout.sequences(input_ids[asked], mask[asked])
    plan = plan_micro_batches([each.tokens for each in sequences], budget_tokens, world_size, pads=layout.pads)
    return [[asked[[row for index in micro_batch for row in sequences[index].rows]] for micro_batch in share] for share in plan]


def plan_micro_batches(
    lengths: Sequence[int], budget_tokens: int, world_size: int = 1, *, pads: bool = True
) -> list[list[list[int]]]:
    """For each rank, its micro-batches as indices into ``lengths`` (tokens of each sequence).

    A micro-batch costs its longest length times its size, or the sum of its lengths where the layout does not pad. A sequence
    longer than the budget gets a micro-batch of its own.
    """
    longest_first = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    # snake order (0, 1, ..., W-1, W-1, ..., 0) evens out the tokens of the ranks
    shares: list[list[int]] = [[] for _ in range(world_size)]
    for place, index in enumerate(longest_first):
        turn, offset = divmod(place, world_size)
        shares[offset if turn % 2 == 0 else world_size - 1 - offset].append(index)
    plans = [_cut(share, lengths, budget_tokens, pads) for share in shares]
    most = max(len(plan) for plan in plans)
    return [plan + [[]] * (most - len(plan)) for plan in plans]


def _cut(longest_first: list[int], lengths: Sequence[int], budget_tokens: int, pads: bool) -> list[list[int]]:
    pieces: list[list[int]] = []
    cost = 0
    for index in longest_first:
        cost += lengths[pieces[-1][0]] if pieces and pads else lengths[index]
        if pieces and cost <= budget_tokens:
            pieces[-1].append(index)
        else:
            pieces.append([index])
            cost = lengths[index]
    return pieces


def crop(micro: TensorDict) -> TensorDict:
    """Cut the padding that the rows at hand do not need; an empty micro-batch becomes one row that trains nothing."""
    if not len(micro):
        blank = {
            key: torch.zeros((1, 2), dtype=value.dtype, device=value.device) for key, value in micro.items() if value.ndim == 2
        }
        flat = {key: torch.zeros(1, dtype=value.dtype, device=value.device) for key, value in micro.items() if value.ndim == 1}
        return TensorDict({**blank, **flat}, batch_size=[1])
    length = int(row_lengths(micro).max())
    widths = {"kept_ids": int(micro["kept_counts"].sum(-1).max())} if "kept_counts" in micro else {}
    return TensorDict(
        {key: value[:, : widths.get(key, length)] if value.ndim == 2 else value for key, value in micro.items()},
        batch_size=micro.batch_size,
    )
