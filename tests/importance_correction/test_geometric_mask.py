import math

import pytest

from rltoolkit.importance_correction import GeometricMask


def test_bounds_the_geometric_mean_of_the_row_on_both_sides(correct):
    bounds = GeometricMask(low=0.5, high=2.0)
    # sqrt(8 * 0.25) = sqrt 2 is within, and the token with ratio 8 stays | sqrt(8 * 2) = 4 is above | sqrt(1/8 * 1/2) = 1/4 below
    assert correct(bounds, [8.0, 0.25]) == [1.0, 1.0]
    assert correct(bounds, [8.0, 2.0]) == [0.0, 0.0]
    assert correct(bounds, [0.125, 0.5]) == [0.0, 0.0]


def test_the_bounds_do_not_depend_on_the_length(correct):
    # every token 1.5 times likelier: the product of 20 is 3,325, the mean stays 1.5
    assert correct(GeometricMask(low=0.5, high=2.0), [1.5] * 20) == [1.0] * 20


def test_masked_tokens_count_neither_in_the_mean_nor_in_its_length(correct):
    # with the 9, or with its place in the length, it would be cbrt(4 * 4 * 9) = 5.2 or cbrt(4 * 4) = 2.5; it is sqrt(4 * 4) = 4
    weights = correct(GeometricMask(low=1.0, high=3.0), [4.0, 9.0, 4.0], mask=[True, False, True])
    assert weights == [0.0, 0.0, 0.0]
    assert correct(GeometricMask(low=1.0, high=4.1), [4.0, 9.0, 4.0], mask=[True, False, True]) == [1.0, 0.0, 1.0]


def test_a_ratio_on_the_bound_is_kept(correct):
    assert correct(GeometricMask(low=1.0, high=1.0), [1.0, 1.0]) == [1.0, 1.0]


def test_without_an_upper_bound_only_the_lower_one_drops(correct):
    assert correct(GeometricMask(low=0.5, high=math.inf), [1e6]) == [1.0]
    assert correct(GeometricMask(low=0.5, high=math.inf), [0.4]) == [0.0]


@pytest.mark.parametrize(
    ("bounds", "message"),
    [
        ({"low": 0.0}, r"importance_correction.low=0.0: must be in \(0, 1\] \(importance_correction=geometric_mask\)"),
        ({"low": 1.1}, r"importance_correction.low=1.1: must be in \(0, 1\]"),
        ({"high": 0.9}, r"importance_correction.high=0.9: must be at least 1"),
    ],
)
def test_ranges(bounds, message):
    with pytest.raises(ValueError, match=message):
        GeometricMask(**bounds)
