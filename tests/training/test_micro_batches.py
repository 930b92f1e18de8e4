"""Micro-batches hold every row once, within the budget, as many on each rank."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from rltoolkit.training.micro_batches import plan_micro_batches


def test_rows_are_sorted_and_cut_at_the_budget():
    # budget 12: lengths 5, 5 cost 2 x 5 = 10, a third row would make 15; then 3, 2, 1 cost 3 x 3 = 9
    (plan,) = plan_micro_batches(torch.tensor([3, 5, 1, 5, 2]), 12)
    assert [rows.tolist() for rows in plan] == [[1, 3], [0, 4, 2]]


def test_ranks_get_equally_many_and_a_short_one_is_filled_with_empty_ones():
    # one row on rank 0, none on rank 1
    plan = plan_micro_batches(torch.tensor([4]), 100, world_size=2)
    assert [[rows.tolist() for rows in rank] for rank in plan] == [[[0]], [[]]]


def test_tokens_are_even_over_two_ranks():
    # longest first 8 7 6 5: there and back gives 8 + 5 and 7 + 6
    plan = plan_micro_batches(torch.tensor([5, 6, 7, 8]), 100, world_size=2)
    assert [sorted(rank[0].tolist()) for rank in plan] == [[0, 3], [1, 2]]


@given(st.lists(st.integers(1, 50), min_size=1, max_size=40), st.integers(50, 200), st.integers(1, 4))
def test_every_row_once_within_the_budget(lengths, budget, world_size):
    plan = plan_micro_batches(torch.tensor(lengths), budget, world_size)
    rows = [row for rank in plan for piece in rank for row in piece.tolist()]
    assert sorted(rows) == list(range(len(lengths)))
    assert len({len(rank) for rank in plan}) == 1
    for rank in plan:
        for piece in rank:
            assert not len(piece) or len(piece) * max(lengths[row] for row in piece.tolist()) <= budget
