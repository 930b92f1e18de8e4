"""The guards around an engine that starts in the trainer's process."""

from __future__ import annotations

import os
import random
import signal

import numpy as np
import pytest
import torch

from rltoolkit.rollout_engine._vllm.process_state import (
    forget_launcher,
    held_interrupts,
    kept_process_group,
    preserved_globals,
    quiet_stderr,
)


@pytest.fixture(autouse=True)
def ctrl_c():
    """Listen to Ctrl-C, which a process that a script has put in the background ignores."""
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, previous)


def test_globals_come_back(monkeypatch):
    monkeypatch.setenv("KEPT", "as it was")
    torch_state, python_state, numpy_state = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()
    set_threads, threads = torch.set_num_threads, torch.get_num_threads()
    with preserved_globals():
        os.environ.update(KEPT="changed", ADDED="1")
        torch.manual_seed(1), random.seed(1), np.random.seed(1)
        torch.set_num_threads(threads + 1)
        torch.set_num_threads = lambda count: None

    assert os.environ["KEPT"] == "as it was"
    assert "ADDED" not in os.environ
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert random.getstate() == python_state
    assert (np.random.get_state()[1] == numpy_state).all()
    assert (torch.set_num_threads, torch.get_num_threads()) == (set_threads, threads)


def test_launcher_variables_are_forgotten_and_no_others(monkeypatch):
    for name in ("RANK", "MASTER_ADDR", "TORCHELASTIC_RUN_ID", "RANKING"):
        monkeypatch.setenv(name, "1")
    forget_launcher()
    assert [name for name in ("RANK", "MASTER_ADDR", "TORCHELASTIC_RUN_ID", "RANKING") if name in os.environ] == ["RANKING"]


def test_the_default_process_group_survives(monkeypatch):
    destroyed = []
    monkeypatch.setattr(torch.distributed, "destroy_process_group", lambda group=None: destroyed.append(group))
    with kept_process_group():
        torch.distributed.destroy_process_group()
        torch.distributed.destroy_process_group("the engine's own")
    torch.distributed.destroy_process_group()
    assert destroyed == ["the engine's own", None]


def test_an_interrupt_waits_until_it_is_asked_for():
    done = []

    def two_steps():
        with held_interrupts() as deliver:
            signal.raise_signal(signal.SIGINT)
            done.append("first")
            deliver()
            done.append("second")

    with pytest.raises(KeyboardInterrupt):
        two_steps()
    assert done == ["first"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_interrupt_that_nobody_asked_for_comes_at_the_end():
    done = []

    def one_step():
        with held_interrupts():
            signal.raise_signal(signal.SIGINT)
            done.append("step")

    with pytest.raises(KeyboardInterrupt):
        one_step()
    assert done == ["step"]


def test_an_interrupt_that_the_trainer_handles_itself_lets_the_work_go_on():
    seen = []
    previous = signal.signal(signal.SIGINT, lambda number, frame: seen.append(number))
    try:
        with held_interrupts() as deliver:
            for _ in range(2):
                signal.raise_signal(signal.SIGINT)
                deliver()
        assert seen == [signal.SIGINT] * 2
    finally:
        signal.signal(signal.SIGINT, previous)


def test_standard_error_is_shown_only_after_a_failure(capfd):
    with quiet_stderr():
        os.write(2, b"chatter")
    assert capfd.readouterr().err == ""

    def failing():
        with quiet_stderr():
            os.write(2, b"the reason")
            raise OSError("boom")

    with pytest.raises(OSError, match="boom"):
        failing()
    assert capfd.readouterr().err == "the reason"
