import math

import pytest

from rltoolkit.importance_correction import TIS


def test_truncates_above(correct):
    # min(rho, 2), and 0 where nothing trains
    weights = correct(TIS(threshold=2.0), [3.0, 1.5, 0.1, 1.0], mask=[True, True, True, False])
    assert weights == pytest.approx([2.0, 1.5, 0.1, 0.0])


def test_without_a_cap_it_is_the_importance_weight(correct):
    assert correct(TIS(threshold=math.inf), [50.0, 0.1]) == pytest.approx([50.0, 0.1])


def test_range():
    with pytest.raises(
        ValueError, match=r"importance_correction.threshold=0.5: must be at least 1 \(importance_correction=tis\)"
    ):
        TIS(threshold=0.5)
