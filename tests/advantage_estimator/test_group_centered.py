from rltoolkit.advantage_estimator import GroupCentered


def test_distance_to_the_groups_mean(make_rollouts):
    # means -0.5 and 0.25
    rollouts = make_rollouts(reward=[[1.0, -1.0, -1.0, -1.0], [1.0, 0.0, 0.0, 0.0]])
    assert GroupCentered()(rollouts).tolist() == [[1.5, -0.5, -0.5, -0.5], [0.75, -0.25, -0.25, -0.25]]


def test_excluded_rows_leave_the_mean(make_rollouts):
    # without the last row the mean of 1, -1 is 0; with it (1 - 1 - 3) / 3 = -1
    rollouts = make_rollouts(reward=[[1.0, -1.0, -3.0]], trained=[[True, True, False]])
    assert GroupCentered()(rollouts).tolist() == [[2.0, 0.0, -2.0]]
    assert GroupCentered(exclude_masked=True)(rollouts).tolist() == [[1.0, -1.0, 0.0]]
