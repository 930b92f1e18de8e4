import pytest
import torch

from rltoolkit.advantage_estimator import GroupNormalized, Raw
from rltoolkit.reward_shaper import VerdictWeights


def test_right_and_wrong_responses_are_weighed_apart(make_rollouts):
    # 0.1 * 1, 2 * -1, and 2 * -1.5 for a wrong one that was punished before
    rollouts = make_rollouts(reward=[[1.0, -1.0, -1.5]])
    rollouts["correct"] = torch.tensor([[True, False, False]])
    shaped = VerdictWeights(positive=0.1, negative=2.0)(rollouts)
    assert shaped["reward"].tolist() == [pytest.approx([0.1, -2.0, -3.0])]
    assert Raw()(shaped).tolist() == [pytest.approx([0.1, -2.0, -3.0])]


def test_the_deviation_takes_the_weights_away(make_rollouts):
    rollouts = make_rollouts(reward=[[1.0, -1.0, -1.0, -1.0]])
    shaped = VerdictWeights()(rollouts)
    torch.testing.assert_close(GroupNormalized()(shaped), GroupNormalized()(rollouts), rtol=1e-3, atol=0)


@pytest.mark.parametrize("field", ["positive", "negative"])
def test_ranges(field):
    with pytest.raises(ValueError, match=rf"reward_shaper\.verdict_weights\.{field}=-0\.1: must be at least 0"):
        VerdictWeights(**{field: -0.1})
