"""A time limit around any reward function: a response that is not judged in time is wrong, with reward -1.

The function runs in processes of its own, one response at a time. A process that is late is killed, whatever it is doing: waiting
for a server, sleeping, or computing in a library that cannot be interrupted. A check that crashes is wrong, too. Both are counted
in ``failures``. The processes import the module in which the function is defined, so it must be possible to import it.

Wall time depends on the machine: choose the limit far above what a check takes, or two runs of one seed may differ.

Config: ``verifier_timeout=30``.
"""

from __future__ import annotations

import base64
import functools
import json
import os
import pickle
import sys
from dataclasses import dataclass

import torch

from rltoolkit.component import name_of
from rltoolkit.reward_function import _time_limited_worker
from rltoolkit.reward_function.base import RewardFunction, Verdict
from rltoolkit.worker_pool import WorkerPool

WORKERS = 4


@dataclass(frozen=True, kw_only=True)
class TimeLimited:
    """Answers as ``function`` does, if that answers in time.

    Args:
        function: any reward function.
        seconds: wall time of each response, above 0.
    """

    function: RewardFunction
    seconds: float

    @property
    def name(self) -> str:
        """The function's own."""
        return name_of(self.function)

    def __call__(self, texts: list[str], answers: list[str]) -> Verdict:
        """N responses and N references -> Verdict [N]. Raises RuntimeError if the processes do not start."""
        replies = self._pool.ask([{"text": text, "answer": answer} for text, answer in zip(texts, answers, strict=True)])
        verdicts = [(False, -1.0) if reply is None else reply for reply in replies]
        return Verdict(
            correct=torch.tensor([correct for correct, _ in verdicts], dtype=torch.bool),
            reward=torch.tensor([reward for _, reward in verdicts], dtype=torch.float32),
        )

    def extract(self, text: str) -> str | None:
        """The function's own; None where it is late."""
        return self._pool.ask([{"text": text, "answer": None}])[0]

    @property
    def failures(self) -> int:
        """Checks so far in this program that crashed or were late; the function's own count is not included."""
        return self._pool.failures

    @property
    def _pool(self) -> WorkerPool:
        return _pool(pickle.dumps(self.function), self.seconds, os.getpid())


@functools.cache
def _pool(function: bytes, seconds: float, process_id: int) -> WorkerPool:
    """One pool for each function and limit, and a new one after a fork: two programs must not share a worker's pipes."""
    arguments = (json.dumps(sys.path), base64.b64encode(function).decode())
    return WorkerPool(_time_limited_worker.__file__, WORKERS, arguments, seconds)
