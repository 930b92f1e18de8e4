"""What can be known of answers without a language model: their forms, and whether a form's values give an answer back.

Answers come from a data set and forms from a model, and both go through a computer algebra system, so they are read in processes of
their own with a limit of CPU time and memory each. A request that exceeds a limit is a form that is not known, and the process is
replaced.
"""

from __future__ import annotations

import functools
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rltoolkit.transform import _algebra_worker
from rltoolkit.transform.answer_form import Form
from rltoolkit.worker_pool import WorkerPool

CHUNK = 64


class Algebra:
    """Runs ``workers`` processes, which start with the first request and end with the program.

    Args:
        workers: processes.
        seconds: CPU time of each request.
    """

    def __init__(self, workers: int = 2, seconds: float = 2.0) -> None:
        self._seconds = seconds
        self._workers = workers

    def forms(self, answers: Sequence[str], progress: Callable[[int], None] = lambda done: None) -> list[Form | None]:
        """The form of each answer (see ``answer_form.read_form``); None where none is known. ``progress`` is told how many different
        answers are read."""
        different = list(dict.fromkeys(answers))
        known: dict[str, Form | None] = {}
        for start in range(0, len(different), CHUNK):
            chunk = different[start : start + CHUNK]
            replies = self._pool().ask([{"answer": answer, "seconds": self._seconds} for answer in chunk])
            known |= {answer: _form(reply) if reply else None for answer, reply in zip(chunk, replies, strict=True)}
            progress(len(known))
        return [known[answer] for answer in answers]

    def gives_answer(self, form: Form, answer: str) -> bool | None:
        """Whether the values in the template equal the answer; None where that cannot be told."""
        request = {"template": form.template, "values": form.values, "answer": answer, "seconds": self._seconds}
        reply: bool | None = self._pool().ask([request])[0]
        return reply

    def _pool(self) -> WorkerPool:
        return _pool(self._workers, os.getpid())


@functools.cache
def _pool(size: int, process_id: int) -> WorkerPool:
    """One pool for each size, and a new one after a fork: two programs must not share a worker's pipes."""
    return WorkerPool(_algebra_worker.__file__, size, (json.dumps(sys.path),))


def _form(reply: Mapping[str, Any]) -> Form:
    return Form(reply["kind"], reply["template"], reply["values"], tuple(reply["conditions"]))
