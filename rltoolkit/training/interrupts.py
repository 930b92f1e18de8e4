"""Ctrl-C and SIGTERM: stop where nothing is lost.

The first signal lets the optimizer step in progress finish (sampling is left at once, since nothing of an unfinished rollout
step is kept), then training ends as if it were done, checkpoint included. The second signal stops at once.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import lightning as L
import torch


class StopRequested(KeyboardInterrupt):
    """Raised inside sampling to leave it at once; nothing of the unfinished rollout step is kept.

    A KeyboardInterrupt, so that engines abort what is running as they do for Ctrl-C, and take it for no failure of theirs.
    """


class Interrupts:
    """Turns signals into an orderly end; ``received`` is the signal's number, 0 if none came."""

    def __init__(self) -> None:
        self.received = 0
        self._trainer: L.Trainer | None = None
        self._leave_at_once = False
        self._previous: dict[int, Any] = {}

    def install(self, trainer: L.Trainer) -> None:
        """Put the handlers in place, over Lightning's own, which would skip the end of training."""
        self._trainer = trainer
        for number in (signal.SIGINT, signal.SIGTERM):
            self._previous[number] = signal.signal(number, self._on_signal)

    def restore(self) -> None:
        """Put back the handlers found at the start; harmless when called twice."""
        while self._previous:
            signal.signal(*self._previous.popitem())

    def should_stop(self) -> bool:
        """Whether training should end here; a collective, with the same answer on every rank.

        A signal may have reached one rank only (``kill``, a job scheduler): every rank then takes it for its own.
        """
        trainer = self._trainer
        if trainer is None:
            return False
        if trainer.world_size > 1:
            number = torch.tensor(float(self.received), device=trainer.strategy.root_device)
            self.received = int(trainer.strategy.reduce(number, reduce_op="max"))
        if self.received:
            trainer.should_stop = True
        return bool(self.received)

    @contextmanager
    def leaving_at_once(self) -> Iterator[None]:
        """While this is open a signal raises StopRequested (with one rank; several have to stop together)."""
        self._leave_at_once = self._trainer is not None and self._trainer.world_size == 1
        try:
            if self._leave_at_once and self.received:  # it came just before
                raise StopRequested
            yield
        finally:
            self._leave_at_once = False

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.received:
            self.restore()
            raise KeyboardInterrupt
        self.received = number
        if self._leave_at_once:
            raise StopRequested
