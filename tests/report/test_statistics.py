"""Statistics over seeds, against numbers worked out by hand."""

import math

import pytest

from rltoolkit.report.statistics import first_reach, height_at, holm, mean_height, mean_interval, paired_difference


def test_the_interval_is_as_wide_as_a_t_interval():
    # 0 to 7: mean 3.5, variance 42 / 7 = 6, standard error sqrt(6 / 8) = 0.866, Student's quantile for 7 degrees of freedom
    # 2.365: 3.5 +- 2.05. Plain percentiles of resampled means would lie at 3.5 +- 1.59.
    assert mean_interval(range(8)) == pytest.approx((3.5, 3.5 - 2.05, 3.5 + 2.05), abs=0.1)


def test_the_interval_lies_within_the_values():
    # Two seeds: resampled means are 1, 2 or 3, and at Student's 12.7 for one degree of freedom the interval takes them all in.
    assert mean_interval([1, 3]) == (2, 1, 3)
    assert mean_interval([2, 2, 2]) == (2, 2, 2)
    value, low, high = mean_interval([5])
    assert value == 5
    assert math.isnan(low)
    assert math.isnan(high)
    assert math.isnan(mean_interval([]).mean)


def test_what_all_seeds_share_cancels_in_a_paired_difference():
    ours, theirs = [11, 22, 33], [10, 20, 30]
    found = paired_difference(ours, theirs)
    # Differences 1, 2, 3: mean 2, std 1, t = 2 / (1 / sqrt(3)) = 3.4641 with 2 degrees of freedom, whose two-sided p is
    # 1 - t / sqrt(t^2 + 2) = 1 - sqrt(12 / 14) = 0.0742.
    assert found.mean == 2
    assert found.p == pytest.approx(1 - math.sqrt(12 / 14))
    assert (found.low, found.high) == pytest.approx((1, 3))
    assert (found.above, found.pairs) == (3, 3)


def test_a_difference_that_does_not_vary_has_no_p():
    # 0.3 - 0.1 and 0.4 - 0.2 differ in the last bit only
    assert math.isnan(paired_difference([0.3, 0.4], [0.1, 0.2]).p)
    assert math.isnan(paired_difference([0.3], [0.1]).p)
    with pytest.raises(ValueError, match="got 2 and 1"):
        paired_difference([1, 2], [1])


def test_holm_steps_down_from_the_smallest():
    # m = 3: 0.01 * 3 = 0.03; 0.02 * 2 = 0.04; 0.03 * 1 = 0.03, but never below the one before: 0.04.
    assert holm([0.03, 0.01, math.nan, 0.02]) == pytest.approx([0.04, 0.03, math.nan, 0.04], nan_ok=True)
    assert holm([0.9, 0.8]) == [1, 1]  # 0.8 * 2 is more than certain


def test_the_mean_height_is_the_area_over_the_width():
    x, y = [0, 10, 30], [0.2, 0.4, 0.4]
    # (10 * (0.2 + 0.4) / 2 + 20 * 0.4) / 30 = 11 / 30
    assert mean_height(x, y) == pytest.approx(11 / 30)
    # Up to 20: (3 + 10 * 0.4) / 20 = 0.35; up to 5, where the line is at 0.3: 5 * (0.2 + 0.3) / 2 / 5 = 0.25.
    assert mean_height(x, y, stop=20) == pytest.approx(0.35)
    assert mean_height(x, y, stop=5) == pytest.approx(0.25)
    assert math.isnan(mean_height(x, y, stop=31))
    assert math.isnan(mean_height([0], [0.2]))
    assert math.isnan(mean_height([], []))


def test_where_a_curve_is_and_when_it_gets_there():
    x, y = [0, 10, 30, 20], [0.2, 0.4, math.nan, 0.3]  # points come in any order, and one has no height
    # From 0.2 to 0.4 within 10: at 0.3 after 5.
    assert first_reach(x, y, 0.3) == pytest.approx(5)
    assert first_reach(x, y, 0.1) == 0
    assert math.isnan(first_reach(x, y, 0.41))
    # Half way between 0.4 and 0.3.
    assert height_at(x, y, 15) == pytest.approx(0.35)
    assert math.isnan(height_at(x, y, 21))
    assert math.isnan(height_at([], [], 0))
