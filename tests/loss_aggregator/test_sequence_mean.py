import pytest

from rltoolkit.loss_aggregator import SequenceMean


def test_every_response_weighs_the_same(loss, mask):
    # row means 6/3 = 2, 4/1 = 4, 14/2 = 7; their mean over the 3 rows that train: 13/3
    assert SequenceMean()(loss, mask).item() == pytest.approx(13 / 3)
