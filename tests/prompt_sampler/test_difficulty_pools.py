"""Which pool a problem is in, and how often each pool's turn comes."""

import numpy as np
import pytest

from rltoolkit.prompt_sampler import DifficultyPools


def observed(sampler, state, *groups):
    """The state after one rollout step with these groups: (problem, right, all)."""
    return sampler.observe(state, *np.array(groups).reshape(-1, 3).T)


def test_bounds_belong_to_the_pool_below_and_the_last_group_counts():
    sampler = DifficultyPools()  # up to 0.25, 0.75, 1
    groups = [(0, 0, 8), (1, 2, 8), (2, 3, 8), (3, 6, 8), (4, 7, 8), (5, 8, 8), (5, 1, 8)]
    state = observed(sampler, sampler.start(7, seed=0), *groups)
    # accuracies 0, 1/4 | 3/8, 3/4 | 7/8; of problem 5 first 1, then 1/8; problem 6 was not asked
    assert state["pool"].tolist() == [0, 0, 1, 1, 2, 0, -1]
    assert sampler.weights_of(state).tolist() == [0.2, 0.2, 1, 1, 0.2, 0.2, 1]
    assert sampler.metrics(state) == {"prompts_pool_0": 3, "prompts_pool_1": 2, "prompts_pool_2": 1}


def test_who_comes_first_is_drawn_by_weight():
    sampler = DifficultyPools(weights=(0.25, 1.0, 0.25))
    state = observed(sampler, sampler.start(3, seed=0), (0, 0, 8), (1, 4, 8), (2, 8, 8))
    orders = [sampler.order({**state, "step": np.array(step)}, 3).tolist() for step in range(600)]
    assert all(sorted(order) == [0, 1, 2] for order in orders)
    # 1 / (1 + 0.25 + 0.25) = 2/3 of 600 are 400, standard deviation sqrt(600 * 2/9) = 11.5, allowed 5 of those
    assert abs(sum(order[0] == 1 for order in orders) - 400) < 58


def test_a_weight_of_zero_takes_a_pool_out():
    sampler = DifficultyPools(weights=(0.0, 1.0, 0.0))
    state = observed(sampler, sampler.start(3, seed=0), (0, 0, 8), (1, 8, 8), (2, 4, 8))
    assert sampler.order(state, 4).tolist() == [2, 2, 2, 2]
    assert sampler.order(observed(sampler, state, (2, 8, 8)), 4).tolist() == []


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"bounds": (0.5, 0.25, 1.0)}, r"prompt_sampler\.bounds=.*: must be rising and end with 1"),
        ({"bounds": (0.25, 0.75)}, r"prompt_sampler\.bounds=.*: must be rising and end with 1"),
        ({"weights": (1.0, 1.0)}, r"prompt_sampler\.weights=\(1\.0, 1\.0\): must be as many as bounds"),
        ({"weights": (1.0, -1.0, 1.0)}, r"prompt_sampler\.weights=.*: must be at least 0"),
        ({"unseen": 0.0}, r"prompt_sampler\.unseen=0\.0: must be greater than 0"),
    ],
)
def test_out_of_range_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        DifficultyPools(**fields)
