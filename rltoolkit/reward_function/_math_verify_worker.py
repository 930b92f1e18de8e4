"""The script behind ``math_verify``: calls the math-verify library on what a model wrote, request by request.

It imports neither this package nor torch. When a check has used up its CPU time, a signal ends the process; no computation can
catch or delay it.
"""

from __future__ import annotations

import functools
import json
import os
import re
import signal
import sys
from contextlib import suppress
from typing import Any

MEMORY_LIMIT = 4 * 2**30  # bytes of address space


@functools.lru_cache(maxsize=1024)  # the responses of a group share their reference
def parse_reference(answer: str) -> Any:
    """The reference as math-verify sees it; one without LaTeX marks is wrapped in a box (``\\$36`` is money, not a mark)."""
    from math_verify import parse

    marked = re.search(r"(?<!\\)\$|\\boxed", answer)
    return parse(answer if marked else f"\\boxed{{{answer}}}", parsing_timeout=None)


def respond(text: str, answer: str | None) -> bool | str | None:
    """The verdict on ``text`` given a reference; without one, the answer found in it."""
    from math_verify import parse, verify
    from sympy import Eq, MatrixBase, nsimplify

    found = parse(text, parsing_timeout=None)
    if answer is not None:
        return bool(verify(parse_reference(answer), found, timeout_seconds=None))
    value = found[0] if found else None
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, Eq) and value.lhs.is_Symbol:
        value = value.rhs
    if isinstance(value, MatrixBase):
        value = value.as_immutable()  # a mutable one is no expression
    return str(nsimplify(value, rational=True))


def main() -> None:
    """See ``WorkerPool`` for the protocol."""
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints must not pass for a reply
    with suppress(ImportError, ValueError, OSError):  # not every system has this limit
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))
    respond("\\boxed{\\sqrt{8}}", "2\\sqrt{2}")  # sympy loads half of itself on the first check
    print("ready", file=replies, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        signal.setitimer(signal.ITIMER_PROF, request["seconds"])  # SIGPROF's default action ends the process
        try:
            reply = [respond(request["text"], request["answer"]), False]
        except Exception:  # deep nesting, no memory, a case the library does not know: a wrong answer
            reply = [None, True]
        signal.setitimer(signal.ITIMER_PROF, 0)
        print(json.dumps(reply), file=replies, flush=True)


if __name__ == "__main__":
    main()
