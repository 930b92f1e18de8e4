"""Sampling runs ahead: while training works on a rollout step, the engine samples later ones with older weights.

With ``collector.max_lag`` = n, rollout step k (counted from 0) is sampled with the weights that k - n rollout steps have trained, the
first n + 1 steps with those of the start. So the version that samples a step is a function of n alone, and the run's responses
one of n and the seed, however fast either side is. n = 0 is on-policy: a step is sampled when training asks for it.

Sampling and training meet once a rollout step, when the new weights are sent: a rollout step then takes as long as the slower of the
two. One step ahead is enough for that; more makes the data older, nothing faster, and is there to study how much a method bears.

What is sampled ahead belongs to the state: a checkpoint waits for the groups in flight, and a run that goes on from it equals the
uninterrupted one to the bit. Nothing is sampled ahead beyond the run's last step, so a run whose ``trainer.max_steps`` is raised
afterwards begins its new steps on-policy. Only an engine outside of this process samples while training computes (its settings say
``samples_in_background``). Another one takes turns with training, and gives the same responses.

Source: the pipeline with a bound on staleness of asynchronous RL, arXiv:2410.18252 (one step) and AReaL, arXiv:2505.24298, section 5.1.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import replace
from typing import Any

from rltoolkit.collector.collector import Collector
from rltoolkit.collector.step import CollectedStep


class _Closed(Exception):
    """Ends sampling that nobody waits for any more."""


class LaggedCollector:
    """Hands out the rollout steps of a collector, which samples ``lag`` of them ahead.

    The engine belongs to the collector between ``accept`` and ``settle``; nobody else may call it there.

    Args:
        collector: samples the steps; with ``in_background`` its ``all_gather`` must not be one that training uses, too.
        lag: n.
        rollout_steps: of the whole run; no step beyond it is sampled ahead.
        in_background: whether to sample in a thread of its own.
    """

    def __init__(self, collector: Collector, *, lag: int = 0, rollout_steps: int = 0, in_background: bool = False) -> None:
        self.collector = collector
        self.rollout_step = 0
        """rollout steps handed out so far; the collector itself is ahead of it"""
        self._lag, self._rollout_steps, self._in_background = lag, rollout_steps, in_background
        self._ready: deque[CollectedStep] = deque()
        self._due = False
        self._thread: threading.Thread | None = None
        self._failure: Exception | None = None
        self._waited = 0.0
        self._closed = False

    def sample(self) -> CollectedStep:
        """What the next rollout step is; this changes nothing until the step is given to ``accept``, as in ``Collector.sample``.

        Raises:
            Exception: what ``Collector.sample`` raises. The steps that were sampled before it come first.
        """
        self.settle()
        start = time.perf_counter()
        if not self._ready and self._failure is not None:
            raise self._failure
        step = self.collector.finish(self._ready[0] if self._ready else self.collector.draw())
        return replace(step, seconds_waited=self._waited + time.perf_counter() - start)

    def accept(self, step: CollectedStep) -> None:
        """Go on behind a step that ``sample`` returned, and begin to sample those ahead, with the weights that the engine holds."""
        if self._ready:
            self._ready.popleft()
        else:
            self.collector.accept(step)
        self.rollout_step += 1
        self._waited = 0.0
        self._due = self._lag > 0
        if self._due and self._in_background:
            self._thread = threading.Thread(target=self._fill, name="sampling-ahead", daemon=True)
            self._thread.start()

    def settle(self) -> None:
        """Wait until all steps ahead are sampled. Afterwards the engine is free: for new weights, an evaluation, a checkpoint."""
        start = time.perf_counter()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        elif self._due:
            self._fill()
        self._due = False
        self._waited += time.perf_counter() - start

    def close(self) -> None:
        """Give up what is being sampled."""
        self._closed = True

    def state_dict(self) -> dict[str, Any]:
        """The collector's state and the steps ahead, for which this waits."""
        self.settle()
        return {"collector": self.collector.state_dict(), "ready": list(self._ready), "rollout_step": self.rollout_step}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where ``state_dict`` was taken. Raises what ``Collector.load_state_dict`` raises."""
        self.collector.load_state_dict(state["collector"])
        self._ready, self.rollout_step = deque(state["ready"]), state["rollout_step"]

    def _fill(self) -> None:
        """Sample until ``lag`` steps are ready. A failure is kept until they have been handed out."""
        progress = self._stop_if_closed if self._in_background else None
        try:
            while self._failure is None and len(self._ready) < self._lag and self.collector.rollout_step < self._rollout_steps:
                step = self.collector.draw(progress)
                self.collector.accept(step)
                self._ready.append(step)
        except Exception as error:
            self._failure = error

    def _stop_if_closed(self, kept: int, needed: int) -> None:
        if self._closed:
            raise _Closed
