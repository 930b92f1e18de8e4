import pytest

from rltoolkit.advantage_estimator import BatchNormalized


def test_mean_of_the_group_deviation_of_the_batch(make_rollouts):
    # group means 0 and 2; batch mean 1, centred 0 -2 1 1: squares 6, std = sqrt(6 / 3) = 1.414214
    # A = 1 / std = 0.707107, -0.707107, 0, 0
    rollouts = make_rollouts(reward=[[1.0, -1.0], [2.0, 2.0]])
    assert BatchNormalized()(rollouts).flatten().tolist() == pytest.approx([0.707107, -0.707107, 0, 0], abs=2e-6)


def test_excluded_rows_leave_both(make_rollouts):
    # counted: 1 -1 | 2. Batch mean 2/3, squares (1/3)^2 + (5/3)^2 + (4/3)^2 = 42/9, std = sqrt(42/18) = 1.527525
    # A = 1 / 1.527525 = 0.654654
    rollouts = make_rollouts(reward=[[1.0, -1.0], [2.0, 9.0]], trained=[[True, True], [True, False]])
    found = BatchNormalized(exclude_masked=True)(rollouts).flatten().tolist()
    assert found == pytest.approx([0.654654, -0.654654, 0, 0], abs=2e-6)
