"""Who retires, and what becomes of the others."""

import numpy as np
import pytest

from rltoolkit.prompt_sampler import RetireSolved, Shuffled


def test_a_pass_rate_of_nine_in_ten_retires_for_good():
    sampler = RetireSolved(pass_rate=0.9)
    state = sampler.start(3, seed=5)
    first, second, third = sampler.order(state, 3).tolist()
    # 9 / 10 is exactly the bound, 8 / 10 below it
    state = sampler.observe(state, np.array([first, second, third]), np.array([9, 8, 0]), np.full(3, 10))
    assert sampler.metrics(state) == {"prompts_retired": 1}
    assert set(sampler.order(state, 20).tolist()) == {second, third}
    # a bad group, were there one, would bring nobody back
    state = sampler.observe(state, sampler.order(state, 2), np.array([0, 0]), np.full(2, 10))
    assert sampler.metrics(state) == {"prompts_retired": 1}


def test_until_somebody_retires_the_order_is_that_of_shuffled():
    sampler, state, asked = RetireSolved(), RetireSolved().start(20, seed=3), []
    for _ in range(6):
        order = sampler.order(state, 12)
        asked += order[:8].tolist()  # not all that could have been sampled is
        state = sampler.observe(state, order[:8], np.full(8, 1), np.full(8, 4))
    passes = [problem for epoch in range(3) for problem in Shuffled()(20, epoch, 3).tolist()]
    assert asked == passes[:48]


def test_a_problem_that_retires_is_left_out_of_the_pass_it_is_in():
    sampler, state = RetireSolved(), RetireSolved().start(4, seed=3)
    passes = [Shuffled()(4, epoch, 3).tolist() for epoch in range(2)]
    state = sampler.observe(state, np.array(passes[0][:1]), np.array([4]), np.array([4]))
    assert sampler.order(state, 6).tolist() == passes[0][1:] + [problem for problem in passes[1] if problem != passes[0][0]]


def test_nothing_is_left_when_all_are_retired():
    sampler, state = RetireSolved(), RetireSolved().start(3, seed=0)
    state = sampler.observe(state, sampler.order(state, 3), np.full(3, 4), np.full(3, 4))
    assert sampler.order(state, 10).tolist() == []


def test_a_pass_rate_above_one_is_refused():
    with pytest.raises(ValueError, match=r"prompt_sampler\.pass_rate=1\.1: must be in \(0, 1\]"):
        RetireSolved(pass_rate=1.1)
