import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rltoolkit.sampler_filter import AccuracyRange, DynamicSampling


def test_both_bounds_are_outside(make_rollouts):
    # ten responses, 0 to 10 correct; low 0.1 and high 0.9 leave 2 to 8
    correct = [[i < count for i in range(10)] for count in range(11)]
    rollouts = make_rollouts(reward=[[0.0] * 10] * 11, correct=correct)
    assert AccuracyRange(low=0.1, high=0.9)(rollouts).tolist() == [2 <= count <= 8 for count in range(11)]


@given(st.lists(st.lists(st.booleans(), min_size=5, max_size=5), min_size=1, max_size=6))
def test_the_whole_range_is_dynamic_sampling(make_rollouts, correct):
    rollouts = make_rollouts(reward=[[0.0] * 5] * len(correct), correct=correct)
    assert torch.equal(AccuracyRange(low=0.0, high=1.0)(rollouts), DynamicSampling()(rollouts))


@pytest.mark.parametrize("bounds", [{"low": -0.1}, {"low": 1.0}, {"low": 0.5, "high": 0.5}, {"high": 1.1}])
def test_ranges(bounds):
    with pytest.raises(ValueError, match=r"sampler_filter\.accuracy_range\.\w+=.*: .* \(sampler_filter=accuracy_range\)"):
        AccuracyRange(**bounds)
