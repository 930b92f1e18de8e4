import pytest

from rltoolkit.advantage_estimator import GroupNormalized


def test_bessel_corrected_by_default(make_rollouts):
    # R = 1 -1 -1 -1: mean -0.5, centred 1.5 -0.5 -0.5 -0.5, squares sum to 3, std = sqrt(3 / 3) = 1
    # A = 1.5 / 1.000001 and -0.5 / 1.000001
    rollouts = make_rollouts(reward=[[1.0, -1.0, -1.0, -1.0]])
    assert GroupNormalized()(rollouts).tolist() == [pytest.approx([1.5, -0.5, -0.5, -0.5], abs=2e-6)]


def test_population_deviation(make_rollouts):
    # R = 1 -1: mean 0, population std 1, Bessel-corrected sqrt(2)
    rollouts = make_rollouts(reward=[[1.0, -1.0]])
    assert GroupNormalized(bessel=False)(rollouts).tolist() == [pytest.approx([1, -1], abs=2e-6)]
    assert GroupNormalized()(rollouts).tolist() == [pytest.approx([0.5**0.5, -(0.5**0.5)], abs=2e-6)]


def test_eps_is_added_to_the_deviation(make_rollouts):
    # population std 1, eps 1: 1 / 2
    assert GroupNormalized(bessel=False, eps=1.0)(make_rollouts(reward=[[1.0, -1.0]])).tolist() == [[0.5, -0.5]]


def test_masked_rows_stay_in_the_statistics_unless_excluded(make_rollouts):
    # all four: mean 0, squares sum to 4, population std 1
    # without the last row: R = 1 1 -1, mean 1/3, centred 2/3 2/3 -4/3, squares 24/9, population std sqrt(8/9) = 0.942809
    # A = 0.666667 / 0.942809 = 0.707107 and -1.333333 / 0.942809 = -1.414214
    rollouts = make_rollouts(reward=[[1.0, 1.0, -1.0, -1.0]], trained=[[True, True, True, False]])
    assert GroupNormalized(bessel=False)(rollouts).tolist() == [pytest.approx([1, 1, -1, -1], abs=2e-6)]
    excluded = GroupNormalized(bessel=False, exclude_masked=True)(rollouts)
    assert excluded.tolist() == [pytest.approx([0.707107, 0.707107, -1.414214, 0], abs=2e-6)]


def test_eps_must_be_positive():
    with pytest.raises(ValueError, match=r"advantage_estimator.eps=0: must be above 0 \(advantage_estimator=group_normalized\)"):
        GroupNormalized(eps=0)
