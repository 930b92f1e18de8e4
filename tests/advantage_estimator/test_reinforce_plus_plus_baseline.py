import pytest

from rltoolkit.advantage_estimator import ReinforcePlusPlusBaseline


def test_group_mean_first_then_every_token_of_the_batch_counts(make_rollouts):
    # C = 1 -1 | 0 0 with 1, 3, 2, 2 tokens: mean (1 - 3) / 8 = -0.25; centred 1.25 -0.75 0.25 0.25
    # squares 1.5625 + 3 * 0.5625 + 4 * 0.0625 = 3.5, std = sqrt(3.5 / 8) = 0.661438
    rollouts = make_rollouts(reward=[[1.0, -1.0], [2.0, 2.0]], response_length=[[1, 3], [2, 2]])
    expected = [1.889822, -1.133893, 0.377964, 0.377964]
    assert ReinforcePlusPlusBaseline()(rollouts).flatten().tolist() == pytest.approx(expected, abs=4e-6)


def test_every_response_of_the_batch_counts_once_if_asked(make_rollouts):
    # C = 1 -1 | 0 0: mean 0, squares 2, std = sqrt(2 / 3) = 0.816497; A = 1.224745 -1.224745 0 0, whatever the lengths
    # (the deviation of R itself, as batch_normalized takes it, would be 1.414214)
    rollouts = make_rollouts(reward=[[1.0, -1.0], [2.0, 2.0]], response_length=[[1, 3], [2, 2]])
    found = ReinforcePlusPlusBaseline(weigh_by_length=False)(rollouts).flatten().tolist()
    assert found == pytest.approx([1.224745, -1.224745, 0, 0], abs=3e-6)


def test_excluded_rows_leave_both(make_rollouts):
    # counted 1 -1 | 2: C = 1 -1 0 with 1, 3, 4 tokens: mean -2 / 8 = -0.25; centred 1.25 -0.75 0.25
    # squares 1.5625 + 3 * 0.5625 + 4 * 0.0625 = 3.5, std = 0.661438
    rollouts = make_rollouts(
        reward=[[1.0, -1.0], [2.0, 9.0]], response_length=[[1, 3], [4, 5]], trained=[[True, True], [True, False]]
    )
    found = ReinforcePlusPlusBaseline(exclude_masked=True)(rollouts).flatten().tolist()
    assert found == pytest.approx([1.889822, -1.133893, 0.377964, 0], abs=4e-6)
