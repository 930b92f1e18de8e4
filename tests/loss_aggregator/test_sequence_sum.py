import pytest

from rltoolkit.loss_aggregator import SequenceSum


def test_responses_are_summed_and_averaged_over_rows_that_train(loss, mask):
    # (6 + 4 + 14) / 3 rows
    assert SequenceSum()(loss, mask).item() == pytest.approx(8.0)
