import pytest

from rltoolkit.advantage_estimator import MaxRL


def test_rare_successes_weigh_more(make_rollouts):
    # 1 of 4: rate 1/4, (1 - 1/4) / (1/4) = 3 and -1 | 2 of 4: (1/2) / (1/2) = 1 and -1 | 4 of 4: 0 | 0 of 4: 0, not 0/0
    correct = [[True, False, False, False], [True, True, False, False], [True] * 4, [False] * 4]
    rollouts = make_rollouts(reward=[[0.0] * 4] * 4, correct=correct)
    assert MaxRL()(rollouts).tolist() == [[3, -1, -1, -1], [1, 1, -1, -1], [0] * 4, [0] * 4]


def test_excluded_rows_leave_the_rate(make_rollouts):
    # counted 1 0: rate 1/2
    rollouts = make_rollouts(reward=[[0.0] * 3], correct=[[True, False, True]], trained=[[True, True, False]])
    assert MaxRL(exclude_masked=True)(rollouts).tolist() == [pytest.approx([1, -1, 0])]
