import pytest

from rltoolkit.advantage_estimator import ReinforcePlusPlus


def test_mean_and_deviation_of_the_batch(make_rollouts):
    # batch mean 1, centred 0 -2 1 1, std = sqrt(6 / 3) = 1.414214: 0, -1.414214, 0.707107, 0.707107
    rollouts = make_rollouts(reward=[[1.0, -1.0], [2.0, 2.0]])
    assert ReinforcePlusPlus()(rollouts).flatten().tolist() == pytest.approx([0, -1.414214, 0.707107, 0.707107], abs=2e-6)


def test_one_response_to_a_prompt_is_enough(make_rollouts):
    # batch mean 0, std = sqrt(2 / 1) = 1.414214
    assert ReinforcePlusPlus.min_group_size == 1
    found = ReinforcePlusPlus()(make_rollouts(reward=[[1.0], [-1.0]]))
    assert found.flatten().tolist() == pytest.approx([0.707107, -0.707107], abs=2e-6)


def test_excluded_rows_leave_both(make_rollouts):
    # counted 1 -1: mean 0, std 1.414214
    rollouts = make_rollouts(reward=[[1.0, -1.0, 7.0]], trained=[[True, True, False]])
    found = ReinforcePlusPlus(exclude_masked=True)(rollouts).flatten().tolist()
    assert found == pytest.approx([0.707107, -0.707107, 0], abs=2e-6)


def test_a_batch_of_equals_gets_exactly_zero(make_rollouts):
    assert not ReinforcePlusPlus()(make_rollouts(reward=[[0.1] * 7] * 3)).any()
