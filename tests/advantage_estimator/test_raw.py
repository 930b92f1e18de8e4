from rltoolkit.advantage_estimator import Raw


def test_the_reward_itself(make_rollouts):
    assert Raw()(make_rollouts(reward=[[1.0, -0.5], [0.25, 0.0]])).tolist() == [[1.0, -0.5], [0.25, 0.0]]
