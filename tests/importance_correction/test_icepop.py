import math

import pytest

from rltoolkit.importance_correction import TIS, IcePop


def test_drops_both_sides(correct):
    # kept within [1/4, 4]
    assert correct(IcePop(threshold=4.0), [5.0, 3.0, 0.3, 0.2]) == pytest.approx([0.0, 3.0, 0.3, 0.0])


def test_a_ratio_on_the_bound_is_kept(correct):
    assert correct(IcePop(threshold=1.0), [1.0]) == [1.0]


def test_without_a_bound_it_is_tis_without_a_cap(correct):
    rho = [50.0, 0.01, 1.0]
    assert correct(IcePop(threshold=math.inf), rho) == correct(TIS(threshold=math.inf), rho)


def test_range():
    with pytest.raises(
        ValueError, match=r"importance_correction.threshold=0.5: must be at least 1 \(importance_correction=icepop\)"
    ):
        IcePop(threshold=0.5)
