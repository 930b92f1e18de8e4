"""What holds for any mask, any groups and any split; and where two aggregators must agree."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rltoolkit import registry
from rltoolkit.loss_aggregator import FixedLength, PromptTokenMean, SequenceMean, SequenceSum, TokenMean, Totals

AGGREGATORS = [registry.build("loss_aggregator", name) for name in registry.names("loss_aggregator")]
WEIGHTED_MEANS = [TokenMean(), PromptTokenMean(), SequenceMean()]


def by_name(aggregator):
    return aggregator.name


@st.composite
def steps(draw):
    """A mask [N, T], the group of each row, and which rows go into the first micro-batch."""
    rows, tokens = draw(st.integers(1, 6)), draw(st.integers(1, 5))
    mask = draw(st.lists(st.lists(st.booleans(), min_size=tokens, max_size=tokens), min_size=rows, max_size=rows))
    groups = draw(st.lists(st.integers(0, 3), min_size=rows, max_size=rows))
    first = draw(st.lists(st.booleans(), min_size=rows, max_size=rows))
    return torch.tensor(mask), torch.tensor(groups), torch.tensor(first)


@pytest.mark.parametrize("aggregator", WEIGHTED_MEANS, ids=by_name)
@settings(deadline=None)
@given(step=steps())
def test_the_weights_of_a_mean_add_up_to_one(aggregator, step):
    mask, groups, _ = step
    total = aggregator.weights(mask, Totals.of(mask, groups)).sum().item()
    assert total == pytest.approx(1.0 if mask.any() else 0.0)


@pytest.mark.parametrize("aggregator", AGGREGATORS, ids=by_name)
@settings(deadline=None)
@given(step=steps())
def test_micro_batches_add_up_to_the_step(aggregator, step):
    mask, groups, first = step
    loss = torch.linspace(-1, 2, mask.numel(), dtype=torch.float64).view_as(mask)
    totals = Totals.of(mask, groups)
    parts = [(aggregator.weights(mask[rows], totals.select(rows)) * loss[rows]).sum() for rows in (first, ~first)]
    torch.testing.assert_close(sum(parts), aggregator(loss, mask, groups), rtol=1e-12, atol=1e-12)


@settings(deadline=None)
@given(step=steps())
def test_a_single_prompt_is_a_token_mean(step):
    mask, _, _ = step
    totals = Totals.of(mask, torch.zeros(len(mask), dtype=torch.int64))
    assert torch.allclose(PromptTokenMean().weights(mask, totals), TokenMean().weights(mask, totals))


@settings(deadline=None)
@given(step=steps())
def test_one_response_for_each_prompt_is_a_sequence_mean(step):
    mask, _, _ = step
    totals = Totals.of(mask, torch.arange(len(mask)))
    assert torch.allclose(PromptTokenMean().weights(mask, totals), SequenceMean().weights(mask, totals))


@settings(deadline=None)
@given(rows=st.integers(1, 5), length=st.integers(1, 5), padding=st.integers(0, 3))
def test_with_equal_lengths_all_agree(rows, length, padding):
    mask = (torch.arange(length + padding) < length).repeat(rows, 1)
    totals = Totals.of(mask, torch.arange(rows))
    expected = TokenMean().weights(mask, totals)
    assert torch.allclose(SequenceMean().weights(mask, totals), expected)
    assert torch.allclose(PromptTokenMean().weights(mask, totals), expected)
    assert torch.allclose(FixedLength(max_length=length).weights(mask, totals), expected)
    assert torch.allclose(SequenceSum().weights(mask, totals), length * expected)
