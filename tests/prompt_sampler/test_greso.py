"""Chances worked out by hand, and how often problems are passed over."""

import numpy as np
import pytest

from rltoolkit.prompt_sampler import GRESO, Shuffled

G = 4


def observed(sampler, state, correct):
    """The state after a rollout step in which the next len(correct) problems had so many of G responses right."""
    order = sampler.order(state, len(correct))
    return sampler.observe(state, order, np.array(correct), np.full(len(correct), G))


def chances(sampler, state):
    return sampler.chance(state, np.arange(len(state["in_a_row"]))).tolist()


def test_each_group_in_a_row_that_taught_nothing_halves_the_chance():
    sampler = GRESO(step=0.0)
    one = np.array([0])
    state, expected = sampler.start(1, seed=0), []
    # all right twice: 0.5, 0.25; all wrong begins anew: 0.5, 0.25, 0.125; mixed: 1
    for right in (G, G, 0, 0, 0, 2):
        state = sampler.observe(state, one, np.array([right]), np.array([G]))
        expected.append(float(sampler.chance(state, one)[0]))
    assert expected == [0.5, 0.25, 0.5, 0.25, 0.125, 1.0]
    for _ in range(7):
        state = sampler.observe(state, one, np.array([0]), np.array([G]))
    assert chances(sampler, state) == [0.01]  # 0.5^7 = 0.008 is below the floor


def test_easy_and_hard_have_a_base_each():
    sampler = GRESO(p_easy=0.5, p_hard=0.8)
    state = observed(sampler, sampler.start(3, seed=0), [G, 0, 1])
    easy, hard, mixed = sampler.order(sampler.start(3, seed=0), 3)
    assert (chances(sampler, state)[easy], chances(sampler, state)[hard], chances(sampler, state)[mixed]) == (0.5, 0.8, 1.0)


def test_several_groups_of_a_problem_in_one_step_count_one_after_the_other():
    sampler = GRESO()
    state = observed(sampler, sampler.start(1, seed=0), [G, 0, 0])
    assert state["in_a_row"].tolist() == [-2]


def test_the_first_pass_is_that_of_shuffled_and_the_bases_stand_still():
    sampler, state = GRESO(), GRESO().start(100, seed=7)
    asked = []
    for _ in range(10):
        asked += sampler.order(state, 10).tolist()
        state = observed(sampler, state, [G] * 10)
    assert asked == Shuffled()(100, 0, 7).tolist()
    assert sampler.metrics(state) == {"prompts_p_easy": 0.5, "prompts_p_hard": 0.5}


def test_from_the_second_pass_on_the_bases_follow_the_shares():
    sampler = GRESO(target=0.3)
    state = observed(sampler, sampler.start(10, seed=7), [2] * 10)
    # easy: 2 of 10 is at least 0.3 / 3 = 0.1, so fewer; hard: 1 of 10 is less than 0.3 * 2 / 3 = 0.2, so more
    state = observed(sampler, state, [G, G, 0, 1, 1, 2, 2, 3, 3, 3])
    assert sampler.metrics(state) == pytest.approx({"prompts_p_easy": 0.49, "prompts_p_hard": 0.51})
    for _ in range(100):
        state = observed(sampler, state, [G] * 5)
    assert sampler.metrics(state) == pytest.approx({"prompts_p_easy": 0.05, "prompts_p_hard": 0.95})


def test_what_was_all_right_once_is_passed_over_every_other_time():
    sampler = GRESO(step=0.0)
    state = observed(sampler, sampler.start(1000, seed=1), [G] * 1000)
    # the second pass asks each with chance 0.5: 500, standard deviation sqrt(1000 / 4) = 15.8, allowed 5 of those
    second_pass = sampler.order(state, 300)
    assert len(set(second_pass.tolist())) == 300
    place = int(sampler.observe(state, second_pass, np.full(300, 1), np.full(300, G))["place"]) - 1000
    # 300 problems at chance 0.5 need 600 places, standard deviation sqrt(300 * 0.5) / 0.5 = 24.5, allowed 5 of those
    assert abs(place - 600) < 123


def test_a_pass_goes_on_behind_what_was_sampled():
    sampler, start = GRESO(), GRESO().start(50, seed=2)
    # twenty could have been sampled, seven were
    after = sampler.observe(start, sampler.order(start, 20)[:7], np.full(7, 1), np.full(7, G))
    assert sampler.order(after, 13).tolist() == sampler.order(start, 20)[7:].tolist()


@pytest.mark.parametrize("field", ["p_easy", "p_hard", "floor"])
def test_a_chance_of_zero_is_refused(field):
    with pytest.raises(ValueError, match=rf"prompt_sampler\.{field}=0: must be in \(0, 1\]"):
        GRESO(**{field: 0})
