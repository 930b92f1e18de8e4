import torch
from hypothesis import given
from hypothesis import strategies as st

from rltoolkit.rollout_batch import with_entries
from rltoolkit.sampler_filter import DynamicSampling


def test_only_groups_with_both_verdicts_are_kept(mixed_rollouts):
    # 2 of 4 correct | 4 of 4, though their rewards differ | 0 of 4
    assert DynamicSampling()(mixed_rollouts).tolist() == [True, False, False]


def test_it_cannot_see_the_reward(mixed_rollouts):
    keep = DynamicSampling()(mixed_rollouts)
    for reward in (torch.rand(3, 4), torch.full((3, 4), torch.nan)):
        assert torch.equal(DynamicSampling()(with_entries(mixed_rollouts, reward=reward)), keep)
    assert torch.equal(DynamicSampling()(mixed_rollouts.select("correct")), keep)


def test_a_group_of_one_is_never_kept(make_rollouts):
    assert DynamicSampling()(make_rollouts(reward=[[1.0], [-1.0]])).tolist() == [False, False]


@given(st.integers(2, 8).flatmap(lambda g: st.lists(st.lists(st.booleans(), min_size=g, max_size=g), min_size=1, max_size=6)))
def test_keeps_exactly_the_groups_that_hold_both(make_rollouts, correct):
    rollouts = make_rollouts(reward=[[0.0] * len(group) for group in correct], correct=correct)
    assert DynamicSampling()(rollouts).tolist() == [any(group) and not all(group) for group in correct]
