import pytest

from rltoolkit.advantage_estimator import ReinforcePlusPlusBaseline


def test_group_mean_first_then_the_deviation_of_what_is_left(make_rollouts):
    # C = 1 -1 | 0 0: squares 2, std = sqrt(2 / 3) = 0.816497; A = 1.224745 -1.224745 0 0
    # (the deviation of R itself, as batch_normalized takes it, would be 1.414214)
    rollouts = make_rollouts(reward=[[1.0, -1.0], [2.0, 2.0]])
    assert ReinforcePlusPlusBaseline()(rollouts).flatten().tolist() == pytest.approx([1.224745, -1.224745, 0, 0], abs=3e-6)


def test_excluded_rows_leave_both(make_rollouts):
    # counted 1 -1 | 2: C = 1 -1 0, std = sqrt(2 / 2) = 1
    rollouts = make_rollouts(reward=[[1.0, -1.0], [2.0, 9.0]], trained=[[True, True], [True, False]])
    found = ReinforcePlusPlusBaseline(exclude_masked=True)(rollouts).flatten().tolist()
    assert found == pytest.approx([1, -1, 0, 0], abs=2e-6)
