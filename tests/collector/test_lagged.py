"""Sampling ahead of training: versions, order, state, failure, and what runs at the same time."""

import threading

import pytest

from rltoolkit.collector import LaggedCollector

from .table_engine import kept, make, plain

RIGHT = [1, 0, 1, 2, 1, 1, 0, 1]
"""how many of a group's two responses are right: five of eight prompts are mixed"""


def lagged(lag, *, in_background=False, steps=6, right=RIGHT, **settings):
    return LaggedCollector(make(right, **settings), lag=lag, rollout_steps=steps, in_background=in_background)


def train(collector, steps):
    """What training does with each step: it takes it, updates, waits for what is ahead, and sends weights of a new version."""
    taken = []
    for _ in range(steps):
        step = collector.sample()
        collector.accept(step)
        taken.append((kept(step), step.rollouts["policy_version"].tolist(), step.rollouts["advantage"].tolist(), step.counters))
        collector.settle()
        collector.collector.engine.version = collector.rollout_step
    return taken


def versions(taken):
    return [sorted({version for group in versions for version in group}) for _, versions, _, _ in taken]


@pytest.mark.parametrize("in_background", [False, True])
@pytest.mark.parametrize(
    ("lag", "expected"),
    [
        (0, [[0], [1], [2], [3], [4], [5]]),
        (1, [[0], [0], [1], [2], [3], [4]]),  # step k has the weights that k - 1 steps have trained
        (3, [[0], [0], [0], [0], [1], [2]]),
    ],
)
def test_a_step_is_sampled_with_weights_of_lag_steps_before(lag, expected, in_background):
    assert versions(train(lagged(lag, in_background=in_background, carry_surplus=False), 6)) == expected


@pytest.mark.parametrize("lag", [1, 3])
def test_in_the_background_the_same_happens(lag):
    assert train(lagged(lag, in_background=True), 6) == train(lagged(lag), 6)


def test_the_prompts_are_those_of_a_run_without_lag():
    # an engine that ignores its weights: what is asked, kept and carried does not depend on when it is sampled
    ahead, on_policy = train(lagged(2), 6), train(lagged(0), 6)
    assert [prompts for prompts, *_ in ahead] == [prompts for prompts, *_ in on_policy]


@pytest.mark.parametrize("in_background", [False, True])
def test_a_checkpoint_holds_what_is_ahead(in_background):
    whole, first, second = (lagged(2, in_background=in_background) for _ in range(3))
    expected = train(whole, 6)
    assert train(first, 2) == expected[:2]
    step = first.sample()
    first.accept(step)  # training has begun on the third step, the fifth is being sampled
    state = first.state_dict()
    assert [kept(step) for step in state["ready"]] == [prompts for prompts, *_ in expected[3:5]]
    second.load_state_dict(state)
    second.collector.engine.version = 3
    assert second.rollout_step == 3
    assert train(second, 3) == expected[3:]
    assert plain(second.collector.state_dict()["prompts"]) == plain(whole.collector.state_dict()["prompts"])


def test_no_step_beyond_the_run_is_sampled():
    collector = lagged(3, steps=4)
    train(collector, 4)
    assert collector.collector.rollout_step == collector.rollout_step == 4


def test_a_step_that_was_not_accepted_comes_again_with_the_same_advantages():
    # a signal can come while a step is finished; the KL in the reward must not be paid twice
    collector = lagged(1)
    collector.collector.adjust = lambda rollouts: rollouts.set("reward", rollouts["reward"] - rollouts["correct"].double())
    train(collector, 1)
    first, again = collector.sample(), collector.sample()
    assert first.rollouts["reward"].tolist() == again.rollouts["reward"].tolist()
    assert kept(first) == kept(again)


@pytest.mark.parametrize("in_background", [False, True])
def test_a_failure_comes_after_the_steps_that_were_sampled_before_it(in_background):
    collector = lagged(3, in_background=in_background)
    train(collector, 1)

    def lost(timeout=None):
        raise ConnectionError("the engine is lost")

    collector.collector.engine.next_finished = lost
    assert versions(train(collector, 3)) == [[0], [0], [0]]  # those that were ready
    with pytest.raises(ConnectionError, match="the engine is lost"):
        collector.sample()


def test_training_goes_on_while_a_step_is_sampled_and_settle_waits_for_it():
    collector, may_finish = lagged(1, in_background=True), threading.Event()
    engine = collector.collector.engine
    finish = engine.next_finished

    def when_it_may(timeout=None):
        may_finish.wait()
        return finish(timeout)

    step = collector.sample()
    engine.next_finished = when_it_may
    collector.accept(step)  # returns although no group of the next step can finish
    waiter = threading.Thread(target=collector.settle)
    waiter.start()
    waiter.join(timeout=0.1)
    assert waiter.is_alive()
    may_finish.set()
    waiter.join(timeout=10)
    assert not waiter.is_alive()
    assert collector.collector.rollout_step == 2


def test_closing_ends_the_thread():
    collector, begun = lagged(1, in_background=True), threading.Event()

    def never(timeout=None):
        begun.set()

    step = collector.sample()
    collector.collector.engine.next_finished = never
    collector.accept(step)
    assert begun.wait(timeout=10)
    collector.close()
    collector.settle()  # would wait for ever
    assert collector.collector.rollout_step == 1
