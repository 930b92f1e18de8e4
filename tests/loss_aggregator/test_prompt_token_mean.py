import pytest
import torch

from rltoolkit.loss_aggregator import PromptTokenMean, Totals


def test_every_prompt_weighs_the_same(loss, mask):
    # prompt 7: rows 0 and 3, 6 / 3 tokens = 2 | prompt 5: rows 1 and 2, (4 + 14) / 3 tokens = 6 | mean 4
    assert PromptTokenMean()(loss, mask, torch.tensor([7, 5, 5, 7])).item() == pytest.approx(4.0)
    # prompt 0: rows 0 and 1, (6 + 4) / 4 = 2.5 | prompt 1: rows 2 and 3, 14 / 2 = 7 | mean 4.75; token_mean says 4
    assert PromptTokenMean()(loss, mask, torch.tensor([0, 0, 1, 1])).item() == pytest.approx(4.75)


def test_a_prompt_without_a_trained_token_does_not_count(loss, mask):
    # prompt 2 has only the empty row: (6 / 3 + (4 + 14) / 3) / 2 prompts = 4, not / 3
    assert PromptTokenMean()(loss, mask, torch.tensor([0, 1, 1, 2])).item() == pytest.approx(4.0)


def test_a_group_split_over_micro_batches_keeps_its_weight(mask):
    # rows 0 and 1 answer one prompt (4 tokens), row 2 the other: 1 / (2 * 4) for row 0's tokens, wherever row 1 is
    totals = Totals.of(mask, torch.tensor([0, 0, 1, 1]))
    weights = PromptTokenMean().weights(mask[:1], totals.select(torch.tensor([0])))
    assert weights[0].tolist() == pytest.approx([1 / 8, 1 / 8, 1 / 8, 0])


def test_needs_groups(loss, mask):
    with pytest.raises(ValueError, match=r"loss_aggregator=prompt_token_mean: group_index is missing"):
        PromptTokenMean()(loss, mask)


def test_totals_of_other_rows_are_refused(mask):
    with pytest.raises(ValueError, match=r"totals are of 4 rows, expected 1, as the mask has"):
        PromptTokenMean().weights(mask[:1], Totals.of(mask, torch.tensor([0, 0, 1, 1])))
