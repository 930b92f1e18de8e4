import pytest

from rltoolkit.loss_aggregator import FixedLength


def test_the_constant_counts_every_row(loss, mask):
    # (6 + 4 + 14) / (4 rows * 10), the empty row included
    assert FixedLength(max_length=10)(loss, mask).item() == pytest.approx(0.6)


def test_range():
    with pytest.raises(ValueError, match=r"loss_aggregator.max_length=0: must be at least 1 \(loss_aggregator=fixed_length\)"):
        FixedLength(max_length=0)
