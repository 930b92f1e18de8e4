import pytest

from rltoolkit.reward_shaper import LinearLengthPenalty


def test_every_token_costs_the_same_up_to_the_limit(make_rollouts):
    # factor 0.5, limit 10: 1 - 0.5 * 4/10 = 0.8 | -1 - 0.5 * 10/10 = -1.5 | beyond the limit no more than that
    rollouts = make_rollouts(reward=[[1.0, -1.0, -1.0]], response_length=[[4, 10, 25]])
    shaped = LinearLengthPenalty(max_length=10, factor=0.5)(rollouts)
    assert shaped["reward"].tolist() == [pytest.approx([0.8, -1.5, -1.5])]


@pytest.mark.parametrize(("field", "value"), [("max_length", 0), ("factor", -1.0)])
def test_ranges(field, value):
    with pytest.raises(ValueError, match=rf"reward_shaper.linear_length_penalty.{field}={value}: must be at least"):
        LinearLengthPenalty(**{field: value})
