"""Counts of the posterior, worked out by hand, and which problems come first."""

import numpy as np
import pytest

from rltoolkit.prompt_sampler import Thompson


def observed(sampler, state, *groups):
    """The state after one rollout step with these groups: (problem, right, all)."""
    return sampler.observe(state, *np.array(groups).reshape(-1, 3).T)


def counts(state):
    return np.stack([state["alpha"], state["beta"]], 1).tolist()


def test_groups_are_added_to_what_is_left_of_the_earlier_ones():
    sampler = Thompson(decay=0.5)
    state = observed(sampler, sampler.start(2, seed=0), (1, 3, 4))
    # 0.5 * 1 + 0.5 + 3 = 4 and 0.5 * 1 + 0.5 + 1 = 2; problem 0 was not asked
    assert counts(state) == [[1, 1], [4, 2]]
    # expected 1 / 2, observed 3 / 4
    assert sampler.metrics(state) == {"prompts_pass_rate_error": 0.25}
    # 0.5 * 4 + 0.5 + 0 = 2.5 and 0.5 * 2 + 0.5 + 4 = 5.5
    state = observed(sampler, state, (1, 0, 4))
    assert counts(state) == [[1, 1], [2.5, 5.5]]
    # expected 4 / 6, observed 0
    assert sampler.metrics(state)["prompts_pass_rate_error"] == pytest.approx(2 / 3)


def test_two_groups_of_a_problem_in_one_step_count_one_after_the_other():
    sampler = Thompson(decay=0.5)
    start = sampler.start(2, seed=0)
    assert counts(observed(sampler, start, (1, 3, 4), (0, 2, 4), (1, 0, 4))) == [[3, 3], [2.5, 5.5]]


def test_without_decay_all_responses_count_alike():
    sampler = Thompson(decay=1.0)
    state = observed(sampler, sampler.start(1, seed=0), (0, 3, 4), (0, 0, 4))
    # 1 + 3 + 0 right, 1 + 1 + 4 wrong
    assert counts(state) == [[4, 6]]


MILLION = 10**6


@pytest.mark.parametrize(("target", "order"), [(0.5, [2, 0, 1]), (0.9, [0, 2, 1]), (0.0, [1, 2, 0])])
def test_the_pass_rate_closest_to_the_target_comes_first(target, order):
    sampler = Thompson(target=target)
    # after a million responses a draw is within 0.003 of 0.9, 0.05 and 0.45
    known = [(0, 900_000, MILLION), (1, 50_000, MILLION), (2, 450_000, MILLION)]
    state = observed(sampler, sampler.start(3, seed=0), *known)
    # the task is smaller than the step: a second pass follows
    assert sampler.order(state, 5).tolist() == [*order, *order[:2]]


def test_only_the_candidates_are_compared():
    # the pass rate of problem 0 is 0.5, that of the other three 0. Of the first two candidates of four it is one, so comes first, in
    # half of all steps: 100 of 200, standard deviation sqrt(200 / 4) = 7.1, allowed 5 of those
    sampler = Thompson(candidate_ratio=1, prompts_per_step=2)
    state = observed(sampler, sampler.start(4, seed=0), (0, 500_000, MILLION), *[(problem, 0, MILLION) for problem in (1, 2, 3)])
    orders = [sampler.order({**state, "step": np.array(step)}, 4).tolist() for step in range(200)]
    assert all(sorted(order) == [0, 1, 2, 3] for order in orders)
    assert all(order.index(0) in (0, 2) for order in orders)  # the first of its two candidates
    assert abs(sum(order[0] == 0 for order in orders) - 100) < 36


@pytest.mark.parametrize(
    ("field", "value", "allowed"),
    [("target", 1.5, "in [0, 1]"), ("decay", -0.1, "in [0, 1]"), ("candidate_ratio", 0, "at least 1")],
)
def test_out_of_range_is_refused(field, value, allowed):
    with pytest.raises(ValueError, match=rf"prompt_sampler\.{field}={value}: must be ") as refused:
        Thompson(**{field: value})
    assert allowed in str(refused.value)
