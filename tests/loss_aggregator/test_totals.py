import pytest
import torch

from rltoolkit.loss_aggregator import TokenMean, Totals


def test_counts_of_a_step(mask):
    # rows 0 and 3 answer prompt 7 (3 tokens), rows 1 and 2 prompt 5 (1 + 2 tokens)
    totals = Totals.of(mask, torch.tensor([7, 5, 5, 7]))
    assert (totals.tokens, totals.rows, totals.active_rows, totals.active_groups) == (6, 4, 3, 2)
    assert totals.group_tokens.tolist() == [3, 3, 3, 3]
    assert Totals.of(mask).group_tokens is None


def test_selecting_rows_keeps_the_step(mask):
    totals = Totals.of(mask, torch.tensor([0, 0, 1, 2]))
    part = totals.select(torch.tensor([False, False, True, True]))
    assert (part.tokens, part.rows, part.active_rows, part.active_groups) == (6, 4, 3, 2)
    assert part.group_tokens.tolist() == [2, 0]


@pytest.mark.parametrize("group_index", [torch.tensor([0, 0, 1]), torch.zeros(4, 1, dtype=torch.int64)])
def test_a_group_index_of_the_wrong_shape_is_named(loss, mask, group_index):
    with pytest.raises(ValueError, match=r"group_index has shape \[.*\], expected \[4\]"):
        TokenMean()(loss, mask, group_index)
