"""The hidden Markov model, followed by hand for a few rollout steps."""

import numpy as np
import pytest

from rltoolkit.prompt_sampler import PredictedDynamics

G = 4
NOBODY = np.empty(0, dtype=np.int64)


def observed(sampler, state, *groups):
    """The state after one rollout step with these groups: (problem, right)."""
    problem, right = np.array(groups).reshape(-1, 2).T
    return sampler.observe(state, problem, right, np.full(len(groups), G))


def predicted(sampler, state, problem=0):
    return sampler.predicted(state, np.array([problem]))[0].tolist()


def test_three_rollout_steps_by_hand():
    sampler = PredictedDynamics(prior=1.0, decay=0.5)
    state = sampler.start(2, seed=0)
    assert predicted(sampler, state) == pytest.approx([1 / 3] * 3)
    # mixed (1): P = 1/3 and b = 1/3 everywhere, so it came from each state with 1/3: row 1 of a is 0.5 + 0.5 + 1/3 = 4/3, the others 1.
    # Then b = (0, 1, 0), and q is column 1: (1, 4/3, 1) / (10/3)
    state = observed(sampler, state, (0, 2))
    assert state["a"][0].tolist() == pytest.approx(np.array([[1] * 3, [4 / 3] * 3, [1] * 3]))
    assert predicted(sampler, state) == pytest.approx([0.3, 0.4, 0.3])
    # without a group: b = q, and row 1 of a decays to 0.5 * 4/3 + 0.5 = 7/6. Columns are (6, 7, 6) / 19, whatever b is
    state = sampler.observe(state, NOBODY, NOBODY, NOBODY)
    assert state["b"][0].tolist() == pytest.approx([0.3, 0.4, 0.3])
    assert predicted(sampler, state) == pytest.approx([6 / 19, 7 / 19, 6 / 19])
    # all right (2): P[2, j] = 6/19 for every j, so it came from each state with b = (0.3, 0.4, 0.3). Row 1: 0.5 * 7/6 + 0.5 = 13/12;
    # row 2: 1 + (0.3, 0.4, 0.3). q is column 2: (1, 13/12, 1.3) / (203/60)
    state = observed(sampler, state, (0, G))
    assert state["a"][0, 2].tolist() == pytest.approx([1.3, 1.4, 1.3])
    assert predicted(sampler, state) == pytest.approx([60 / 203, 65 / 203, 78 / 203])
    # the other problem was never asked
    assert predicted(sampler, state, problem=1) == pytest.approx([1 / 3] * 3)


def test_counts_that_do_not_decay_learn_a_problem_that_stays_mixed():
    sampler = PredictedDynamics(decay=1.0)
    state = sampler.start(1, seed=0)
    for _ in range(8):
        state = observed(sampler, state, (0, 1))
    # mixed to mixed: 1/3 with the first group and 1 with each of the other seven: (1 + 1/3 + 7) / (3 + 1/3 + 7) = 25/31
    assert predicted(sampler, state)[1] == pytest.approx(25 / 31)


def test_probably_mixed_comes_first_then_never_asked_then_probably_not():
    sampler = PredictedDynamics()
    state = observed(sampler, sampler.start(4, seed=0), (0, G), (2, 3), (3, 0))
    # q[1]: 0.4 for problem 2, 1/3 for problem 1, and for 0 and 3, whose column is (4/3, 1, 1) / (10/3) in some order, 0.3
    order = sampler.order(state, 4).tolist()
    assert order[:2] == [2, 1]
    assert sorted(order[2:]) == [0, 3]
    # what the step's three groups were expected to be
    assert sampler.metrics(state) == pytest.approx({"prompts_predicted_mixed": 1 / 3})


def test_only_the_candidates_are_compared():
    # two of four at a time: the one that is probably mixed is among the first two, and so comes first, in half of all steps:
    # 100 of 200, standard deviation sqrt(200 / 4) = 7.1, allowed 5 of those
    sampler = PredictedDynamics(candidate_ratio=2, prompts_per_step=1)
    state = observed(sampler, sampler.start(4, seed=0), (2, 3))
    firsts = [sampler.order({**state, "step": np.array(step)}, 4)[0] for step in range(200)]
    assert abs(firsts.count(2) - 100) < 36


def test_several_groups_of_a_problem_in_one_step_are_transitions_one_after_the_other():
    sampler = PredictedDynamics()
    start = sampler.start(1, seed=0)
    together = observed(sampler, start, (0, 2), (0, G))
    apart = observed(sampler, observed(sampler, start, (0, 2)), (0, G))
    assert together["a"].tolist() == apart["a"].tolist()
    assert together["b"].tolist() == apart["b"].tolist()


def test_a_prior_of_zero_is_refused():
    with pytest.raises(ValueError, match=r"prompt_sampler\.prior=0: must be greater than 0"):
        PredictedDynamics(prior=0)
