"""Math-verify: general answers (fractions, roots, sets, intervals, equations), compared by the math-verify library.

    correct = math_verify(reference, response);   reward = +1 if correct else -1

Only the last ``window`` characters are read. The library hands what a model wrote to a computer algebra system, so it runs in
processes of its own, and each check has a limit of CPU time and memory (CPU time, so that a busy machine changes no verdict). A
check that exceeds a limit or crashes is wrong, and counted in ``failures``; its process is replaced. This works from any thread.

Source: DAPO, arXiv:2503.14476, section 2.4, eq. 7, with the verifier of the Math-Verify project.
Config: ``reward_function=math_verify``.
"""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass
from typing import Any

from rltoolkit.component import check
from rltoolkit.registry import register
from rltoolkit.reward_function import _math_verify_worker
from rltoolkit.reward_function.base import Verdict, verdict
from rltoolkit.worker_pool import WorkerPool


@register("reward_function", "math_verify")
@dataclass(frozen=True, kw_only=True)
class MathVerify:
    """Checks run in parallel; the processes start with the first check and end with the program.

    Args:
        timeout: CPU seconds for each check, above 0.
        window: characters at the end of a response that are read, at least 1.
        workers: processes, at least 1.
    """

    timeout: float = 1.0
    window: int = 1000
    workers: int = 4

    def __post_init__(self) -> None:
        check(self, "timeout", self.timeout > 0, "above 0 (CPU seconds)")
        check(self, "window", self.window >= 1, "at least 1")
        check(self, "workers", self.workers >= 1, "at least 1")

    def __call__(self, texts: list[str], answers: list[str]) -> Verdict:
        """N responses and N references -> Verdict [N]. Raises RuntimeError if the library does not start."""
        requests = [self._request(text, answer) for text, answer in zip(texts, answers, strict=True)]
        return verdict(reply is True for reply in self._pool.ask(requests))

    def extract(self, text: str) -> str | None:
        """The answer as the algebra system writes it, decimals as fractions, or None."""
        return self._pool.ask([self._request(text, None)])[0]

    @property
    def failures(self) -> int:
        """Checks so far in this program that crashed or exceeded a limit."""
        return self._pool.failures

    def _request(self, text: str, answer: str | None) -> dict[str, Any]:
        return {"text": text[-self.window :], "answer": answer, "seconds": self.timeout}

    @property
    def _pool(self) -> WorkerPool:
        return _pool(self.workers, os.getpid())


@functools.cache
def _pool(size: int, process_id: int) -> WorkerPool:
    """One pool for each size, and a new one after a fork: two programs must not share a worker's pipes."""
    return WorkerPool(_math_verify_worker.__file__, size)
