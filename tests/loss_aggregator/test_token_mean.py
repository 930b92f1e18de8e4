import pytest
import torch

from rltoolkit.loss_aggregator import TokenMean, Totals


def test_every_token_weighs_the_same(loss, mask):
    # (6 + 4 + 14) / 6 tokens
    assert TokenMean()(loss, mask).item() == pytest.approx(4.0)


def test_weights_belong_to_the_whole_step(mask):
    # the first row alone, in a step of 6 tokens
    weights = TokenMean().weights(mask[:1], Totals.of(mask))
    assert weights[0].tolist() == pytest.approx([1 / 6, 1 / 6, 1 / 6, 0])


def test_a_step_without_a_trained_token_has_loss_zero(loss, mask):
    assert TokenMean()(loss, torch.zeros_like(mask)).item() == 0
