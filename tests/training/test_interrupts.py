"""Ctrl-C and SIGTERM, from the handlers up to two ranks of which one is told."""

import signal

import lightning as L
import pytest

from rltoolkit.training.interrupts import Interrupts, StopRequested


@pytest.fixture
def trainer() -> L.Trainer:
    return L.Trainer(accelerator="cpu", devices=1, logger=False, enable_checkpointing=False, enable_progress_bar=False)


@pytest.fixture
def interrupts(trainer):
    interrupts = Interrupts()
    interrupts.install(trainer)
    yield interrupts
    interrupts.restore()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_asks_for_a_stop_and_the_second_one_ends_it(interrupts, trainer, number):
    assert not interrupts.should_stop()
    signal.raise_signal(number)
    assert (interrupts.received, trainer.should_stop) == (number, False)
    assert interrupts.should_stop()
    assert trainer.should_stop
    with pytest.raises(KeyboardInterrupt) as second:
        signal.raise_signal(number)
    assert not isinstance(second.value, StopRequested)  # which would be taken for an orderly end


def test_handlers_are_put_back_as_they_were(trainer):
    def before(number, frame):
        raise AssertionError

    found = signal.signal(signal.SIGTERM, before)
    try:
        interrupts = Interrupts()
        interrupts.install(trainer)
        assert signal.getsignal(signal.SIGTERM) != before
        interrupts.restore()
        interrupts.restore()
        assert signal.getsignal(signal.SIGTERM) == before
        assert signal.getsignal(signal.SIGINT) == signal.default_int_handler
    finally:
        signal.signal(signal.SIGTERM, found)


def test_sampling_is_left_at_once(interrupts):
    with pytest.raises(StopRequested), interrupts.leaving_at_once():
        signal.raise_signal(signal.SIGTERM)
    assert interrupts.should_stop()
    # and it was left once: what comes after is an orderly end again, until the second signal
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGTERM)


def test_sampling_does_not_begin_when_the_signal_came_just_before(interrupts):
    signal.raise_signal(signal.SIGINT)
    with pytest.raises(StopRequested), interrupts.leaving_at_once():
        pytest.fail("began")


def test_outside_of_a_run_nothing_is_asked_for():
    interrupts = Interrupts()
    assert not interrupts.should_stop()
    with interrupts.leaving_at_once():
        pass


def test_a_signal_on_one_rank_is_every_ranks(two_ranks):
    # it comes in the third step; both ranks stop after that one, for the same reason, so that they go on doing the same things
    assert two_ranks["signal"] == [[[False, False, True], signal.SIGTERM]] * 2
