import pytest
import torch

from rltoolkit.reward_shaper import SoftOverlongPunishment


def test_the_papers_three_pieces(make_rollouts):
    # L_max 20, L_cache 4, so the stretch begins after 16 tokens.
    # 10 and 16: 0 | 17: (16 - 17) / 4 = -0.25 | 19: -0.75 | 20: -1 | 21 and 40: clamped at -1
    rollouts = make_rollouts(reward=[[1.0] * 7], response_length=[[10, 16, 17, 19, 20, 21, 40]])
    shaped = SoftOverlongPunishment(max_length=20, cache_length=4)(rollouts)
    assert shaped["reward"].tolist() == [[1.0, 1.0, 0.75, 0.25, 0.0, 0.0, 0.0]]


def test_defaults_are_the_papers(make_rollouts):
    # 20,480 - 4,096 = 16,384 is free; 18,432 is half way through the stretch: -0.5
    rollouts = make_rollouts(reward=[[0.0, 0.0, 0.0]], response_length=[[16384, 18432, 20480]])
    assert SoftOverlongPunishment()(rollouts)["reward"].tolist() == [[0.0, -0.5, -1.0]]


def test_factor_scales_and_only_the_reward_changes(make_rollouts):
    rollouts = make_rollouts(reward=[[1.0, -1.0]], response_length=[[18, 20]])
    shaped = SoftOverlongPunishment(max_length=20, cache_length=4, factor=0.5)(rollouts)
    # 1 + 0.5 * (-2 / 4) = 0.75 | -1 + 0.5 * -1 = -1.5
    assert shaped["reward"].tolist() == [[0.75, -1.5]]
    assert torch.equal(shaped["correct"], rollouts["correct"])
    assert torch.equal(shaped["loss_mask"], rollouts["loss_mask"])


@pytest.mark.parametrize("cache_length", [0, 20, 21])
def test_the_stretch_lies_inside_the_limit(cache_length):
    key = "reward_shaper.soft_overlong_punishment.cache_length"
    with pytest.raises(ValueError, match=rf"{key}={cache_length}: must be in \[1, max_length=20\)"):
        SoftOverlongPunishment(max_length=20, cache_length=cache_length)


@pytest.mark.parametrize(("field", "value"), [("max_length", 1), ("factor", -0.1)])
def test_ranges(field, value):
    with pytest.raises(ValueError, match=f"reward_shaper.soft_overlong_punishment.{field}={value}: must be at least"):
        SoftOverlongPunishment(**{"cache_length": 1, field: value})
