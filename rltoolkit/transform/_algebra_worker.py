"""The script behind ``Algebra``: reads the forms of answers, and says whether a form's values give an answer back.

python -P _algebra_worker.py SYS_PATH_AS_JSON

It imports no torch. When a request has used up its CPU time, a signal ends the process; no computation can catch or delay it.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

MEMORY_LIMIT = 4 * 2**30  # bytes of address space


def gives_answer(template: str, values: Mapping[str, int], answer: str) -> bool | None:
    """Whether ``template`` with its values in it equals ``answer``; None where math-verify cannot read one of them."""
    from math_verify import parse, verify

    filled = substitute(template, values)
    ours, theirs = (parse(f"\\boxed{{{text}}}", parsing_timeout=None) for text in (filled, answer))
    if not ours or not theirs or isinstance(ours[0], str) or isinstance(theirs[0], str):
        return None
    return bool(verify(theirs, ours, timeout_seconds=None))


def substitute(template: str, values: Mapping[str, int]) -> str:
    """LaTeX with numbers in place of letters; commands and words are left alone, and a product stays one."""

    def number(found: re.Match[str]) -> str:
        if found[0] not in values:
            return found[0]
        value = values[found[0]]
        is_factor = re.search(r"[\w)}]$", template[: found.start()]) is not None
        return f"({value})" if value < 0 or is_factor else str(value)

    return re.sub(r"\\(?:text|mbox|mathrm)\{[^}]*\}|\\(?:begin|end)\{\w+\}|\\[a-zA-Z]+|[a-zA-Z]", number, template)


def respond(request: Mapping[str, Any]) -> Any:
    """The form of ``answer``, as a dict, or None; where there is a ``template``, what ``gives_answer`` says."""
    from rltoolkit.transform.answer_form import read_form

    if "template" in request:
        return gives_answer(request["template"], request["values"], request["answer"])
    form = read_form(request["answer"])
    return dataclasses.asdict(form) if form is not None else None


def main() -> None:
    """See ``WorkerPool`` for the protocol."""
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints must not pass for a reply
    sys.path[:] = json.loads(sys.argv[1])
    with suppress(ImportError, ValueError, OSError):  # not every system has this limit
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))
    respond({"answer": r"2\sqrt{2}", "template": r"m\sqrt{n}", "values": {"m": 2, "n": 2}})  # sympy loads half of itself at first
    print("ready", file=replies, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        signal.setitimer(signal.ITIMER_PROF, request["seconds"])  # SIGPROF's default action ends the process
        try:
            reply = [respond(request), False]
        except Exception:  # deep nesting, no memory, a case the library does not know
            reply = [None, True]
        signal.setitimer(signal.ITIMER_PROF, 0)
        print(json.dumps(reply), file=replies, flush=True)


if __name__ == "__main__":
    main()
