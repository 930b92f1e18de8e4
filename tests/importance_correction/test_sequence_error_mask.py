import math

import pytest

from rltoolkit.importance_correction import GeometricMask, SequenceErrorMask


def test_differences_of_both_signs_add_up(correct):
    # exp(|log 4|) = 4 and exp(|log 1/4|) = 4: e = 4, while their geometric mean is 1
    assert correct(SequenceErrorMask(threshold=3.9), [4.0, 0.25]) == [0.0, 0.0]
    assert correct(SequenceErrorMask(threshold=4.1), [4.0, 0.25]) == [1.0, 1.0]
    assert correct(GeometricMask(), [4.0, 0.25]) == [1.0, 1.0]


def test_one_token_can_drop_its_response(correct):
    # (100 + 9 * 1) / 10 = 10.9
    assert correct(SequenceErrorMask(threshold=10.8), [0.01] + [1.0] * 9) == [0.0] * 10
    assert correct(SequenceErrorMask(threshold=11.0), [0.01] + [1.0] * 9) == [1.0] * 10


def test_masked_tokens_count_neither_in_the_mean_nor_in_its_length(correct):
    # (2 + 3) / 2 = 2.5; with the masked token's place in the length 5 / 3 = 1.7, with its ratio 14 / 3 = 4.7
    ratios, mask = [2.0, 9.0, 3.0], [True, False, True]
    assert correct(SequenceErrorMask(threshold=2.4), ratios, mask) == [0.0, 0.0, 0.0]
    assert correct(SequenceErrorMask(threshold=2.6), ratios, mask) == [1.0, 0.0, 1.0]


def test_equal_policies_are_on_the_smallest_bound_and_kept(correct):
    assert correct(SequenceErrorMask(threshold=1.0), [1.0, 1.0]) == [1.0, 1.0]


def test_an_error_too_large_for_a_float_drops_the_response(correct):
    # e^800 overflows float64
    assert correct(SequenceErrorMask(), [math.exp(700), 1.0]) == [0.0, 0.0]


def test_range():
    with pytest.raises(ValueError, match=r"importance_correction.threshold=0.5: must be at least 1"):
        SequenceErrorMask(threshold=0.5)
