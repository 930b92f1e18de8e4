import pytest
import torch

from rltoolkit.advantage_estimator import GroupCentered, LeaveOneOut


def test_distance_to_the_mean_of_the_others(make_rollouts):
    # others of 3: (1 + 2) / 2 = 1.5 | of 1: 2.5 | of 2: 2
    assert LeaveOneOut()(make_rollouts(reward=[[3.0, 1.0, 2.0]])).tolist() == [[1.5, -1.5, 0.0]]


def test_excluded_rows_are_nobodys_others(make_rollouts):
    # 3 and 1 have only each other: 2 and -2
    rollouts = make_rollouts(reward=[[3.0, 1.0, 2.0]], trained=[[True, True, False]])
    assert LeaveOneOut(exclude_masked=True)(rollouts).tolist() == [[2.0, -2.0, 0.0]]


def test_it_is_the_centred_one_times_g_over_g_minus_1(mixed_rollouts):
    torch.testing.assert_close(LeaveOneOut()(mixed_rollouts), GroupCentered()(mixed_rollouts) * 4 / 3)


def test_a_single_counted_row_gets_nothing(make_rollouts):
    rollouts = make_rollouts(reward=[[3.0, 1.0]], trained=[[True, False]])
    assert LeaveOneOut(exclude_masked=True)(rollouts).tolist() == [pytest.approx([0.0, 0.0], abs=0)]
