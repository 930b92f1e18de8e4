"""Micro-batches: rows dealt to the ranks and cut so that rows x longest row stays within a token budget.

Rows are sorted by length first, so the rows of a micro-batch are about equally long and padding is small. Every rank computes
the same plan from the same lengths, and gets the same number of micro-batches (FSDP's collectives must pair up); a rank that
runs out gets empty ones.
"""

from __future__ import annotations

import torch
from torch import Tensor


def plan_micro_batches(lengths: Tensor, budget_tokens: int, world_size: int = 1) -> list[list[Tensor]]:
    """For each rank, its micro-batches as row indices [n] into ``lengths`` [N] (tokens of each row).

    A row longer than the budget gets a micro-batch of its own.
    """
    longest_first = torch.argsort(lengths, descending=True, stable=True).tolist()
    # there and back again: rank 0 gets the 1st, 2W-th, 2W+1-th ... longest, which evens out the ranks' tokens
    shares: list[list[int]] = [[] for _ in range(world_size)]
    for place, row in enumerate(longest_first):
        turn, offset = divmod(place, world_size)
        shares[offset if turn % 2 == 0 else world_size - 1 - offset].append(row)
    plans = [_cut(share, lengths, budget_tokens) for share in shares]
    most = max(len(plan) for plan in plans)
    empty = torch.empty(0, dtype=torch.int64)
    return [plan + [empty] * (most - len(plan)) for plan in plans]


def _cut(rows: list[int], lengths: Tensor, budget_tokens: int) -> list[Tensor]:
    """Cut rows, longest first, so that each piece's first row times its size stays within the budget."""
    pieces: list[list[int]] = []
    for row in rows:
        fits = pieces and (len(pieces[-1]) + 1) * int(lengths[pieces[-1][0]]) <= budget_tokens
        if fits:
            pieces[-1].append(row)
        else:
            pieces.append([row])
    return [torch.tensor(piece, dtype=torch.int64) for piece in pieces]
