import math

import pytest

from rltoolkit.importance_correction import SequenceMask, SequenceTIS


def test_drops_a_response_above_the_bound(correct):
    # 3 * 0.5 = 1.5 <= 2 is kept | 3 * 2 = 6 > 2 is dropped | 0.1 is kept: only the upper side is bounded
    assert correct(SequenceMask(threshold=2.0), [3.0, 0.5]) == pytest.approx([1.5, 1.5])
    assert correct(SequenceMask(threshold=2.0), [3.0, 2.0]) == [0.0, 0.0]
    assert correct(SequenceMask(threshold=2.0), [0.1]) == pytest.approx([0.1])


def test_a_ratio_on_the_bound_is_kept(correct):
    assert correct(SequenceMask(threshold=1.0), [1.0, 1.0]) == [1.0, 1.0]


def test_without_a_bound_it_is_sequence_tis_without_a_cap(correct):
    rho = [3.0, 2.0, 0.5]
    assert correct(SequenceMask(threshold=math.inf), rho) == correct(SequenceTIS(threshold=math.inf), rho)


def test_range():
    with pytest.raises(ValueError, match=r"importance_correction.threshold=0.5: must be at least 1"):
        SequenceMask(threshold=0.5)
