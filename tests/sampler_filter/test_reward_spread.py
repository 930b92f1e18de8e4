import pytest

from rltoolkit.sampler_filter import RewardSpread


def test_spread_above_the_threshold_is_kept(make_rollouts):
    # spreads 0, 0.25 and 2
    rollouts = make_rollouts(reward=[[0.5, 0.5], [0.25, 0.5], [-1.0, 1.0]])
    assert RewardSpread()(rollouts).tolist() == [False, True, True]
    assert RewardSpread(min_spread=0.25)(rollouts).tolist() == [False, False, True]


def test_equal_rewards_have_no_spread_whatever_their_value(make_rollouts):
    # the float32 deviation of three times 0.1 need not be 0; the spread is
    assert RewardSpread()(make_rollouts(reward=[[0.1] * 3, [0.7] * 3])).tolist() == [False, False]


def test_it_reads_the_reward_not_the_verdict(mixed_rollouts):
    # the second group is all correct, but one response has 0.5
    assert RewardSpread()(mixed_rollouts).tolist() == [True, True, False]


def test_range():
    with pytest.raises(ValueError, match=r"sampler_filter.reward_spread.min_spread=-1: .* \(sampler_filter=reward_spread\)"):
        RewardSpread(min_spread=-1)
