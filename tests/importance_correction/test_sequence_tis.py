import math

import pytest

from rltoolkit.importance_correction import TIS, SequenceTIS


def test_the_response_has_one_weight(correct):
    # 3 * 0.5 * 1.2 = 1.8; the masked 9 does not enter
    weights = correct(SequenceTIS(threshold=2.0), [3.0, 0.5, 9.0, 1.2], mask=[True, True, False, True])
    assert weights == pytest.approx([1.8, 1.8, 0.0, 1.8])
    # 3 * 2 = 6, truncated at 2
    assert correct(SequenceTIS(threshold=2.0), [3.0, 2.0]) == pytest.approx([2.0, 2.0])


def test_a_ratio_too_large_for_a_float_is_truncated_too(correct):
    # e^(2 * 600) overflows float64
    assert correct(SequenceTIS(threshold=2.0), [math.exp(600), math.exp(600)]) == [2.0, 2.0]


def test_for_one_token_it_is_tis(correct):
    assert [correct(SequenceTIS(), [rho]) for rho in (0.3, 5.0)] == [correct(TIS(), [rho]) for rho in (0.3, 5.0)]


def test_range():
    with pytest.raises(ValueError, match=r"importance_correction.threshold=0.5: must be at least 1"):
        SequenceTIS(threshold=0.5)
