"""Micro-batches hold every sequence once, within the budget, as many on each rank."""

from hypothesis import given
from hypothesis import strategies as st

from rltoolkit.training.micro_batches import plan_micro_batches


def test_sequences_are_sorted_and_cut_at_the_budget():
    # budget 12: lengths 5, 5 cost 2 x 5 = 10, a third row would make 15; then 3, 2, 1 cost 3 x 3 = 9
    (plan,) = plan_micro_batches([3, 5, 1, 5, 2], 12)
    assert plan == [[1, 3], [0, 4, 2]]


def test_without_padding_a_micro_batch_costs_the_sum_of_its_lengths():
    # budget 13, longest first: 5 + 5 + 3, then 2 + 1; padded to 5 the third would make 15
    (plan,) = plan_micro_batches([3, 5, 1, 5, 2], 13, pads=False)
    assert plan == [[1, 3, 0], [4, 2]]


def test_ranks_get_equally_many_and_a_short_one_is_filled_with_empty_ones():
    # one sequence on rank 0, none on rank 1
    assert plan_micro_batches([4], 100, world_size=2) == [[[0]], [[]]]


def test_tokens_are_even_over_two_ranks():
    # longest first 8 7 6 5: there and back gives 8 + 5 and 7 + 6
    plan = plan_micro_batches([5, 6, 7, 8], 100, world_size=2)
    assert [sorted(rank[0]) for rank in plan] == [[0, 3], [1, 2]]


@given(st.lists(st.integers(1, 50), min_size=1, max_size=40), st.integers(50, 200), st.integers(1, 4), st.booleans())
def test_every_sequence_once_within_the_budget(lengths, budget, world_size, pads):
    plan = plan_micro_batches(lengths, budget, world_size, pads=pads)
    assert sorted(index for rank in plan for piece in rank for index in piece) == list(range(len(lengths)))
    assert len({len(rank) for rank in plan}) == 1
    for piece in (piece for rank in plan for piece in rank if piece):
        tokens = [lengths[index] for index in piece]
        assert (len(piece) * max(tokens) if pads else sum(tokens)) <= budget
