import torch

from rltoolkit.advantage_estimator import GroupCentered, OptimalBaseline


def test_the_baseline_is_weighted_by_length(make_rollouts):
    # (6 * 1 + 2 * -1) / 8 = 0.5, so 1 - 0.5 and -1 - 0.5
    rollouts = make_rollouts(reward=[[1.0, -1.0]], response_length=[[6, 2]])
    assert OptimalBaseline()(rollouts).tolist() == [[0.5, -1.5]]


def test_excluded_rows_leave_the_baseline(make_rollouts):
    rollouts = make_rollouts(reward=[[1.0, -1.0, 5.0]], response_length=[[6, 2, 9]], trained=[[True, True, False]])
    assert OptimalBaseline(exclude_masked=True)(rollouts).tolist() == [[0.5, -1.5, 0.0]]


def test_equal_lengths_make_it_group_centered(make_rollouts):
    rollouts = make_rollouts(reward=[[1.0, -1.0, 0.5], [0.25, 1.0, 1.0]])
    torch.testing.assert_close(OptimalBaseline()(rollouts), GroupCentered()(rollouts))
