"""Cleaning: which rows of a table become problems, with a count of everything that stands out."""

from __future__ import annotations

import logging
import re
from collections import defaultdict
from collections.abc import Iterable
from decimal import Decimal

from rltoolkit.task.base import Problem

logger = logging.getLogger("rltoolkit.task")

INTEGER = re.compile(r"[+-]?([0-9]{1,3}(,[0-9]{3})+|[0-9]{1,4000})")


def normalize_integer(answer: str) -> str | None:
    """``"1,080"`` and ``"$025"`` as ``"1080"`` and ``"25"``; None where the answer is not an integer."""
    text = answer.strip().replace("$", "").rstrip(".")
    return str(int(text.replace(",", ""))) if INTEGER.fullmatch(text) else None


def is_float_rounded(integer: str) -> bool:
    """Whether an integer has been through a float64 that could not hold it: 221 * 10^20 read back as 22099999999999998951424.

    Beyond 2^53 its digits are then exactly those of a float64, and not the shortest ones that name that float.
    """
    if abs(int(integer)) <= 2**53 or abs(int(integer)) >= 10**300:
        return False
    nearest = float(integer)
    return int(nearest) == int(integer) != int(Decimal(repr(nearest)))


def clean(
    problems: Iterable[Problem],
    name: str,
    *,
    keep_repeated: bool,
    keep_conflicting: bool,
    keep_non_integer: bool | None = None,
) -> list[Problem]:
    """Problems in the table's order, without the rows that config does not keep; one line of counts goes to the log.

    Args:
        problems: one for each row; an empty answer marks a row without one, which is never kept.
        name: of the task, for the log line and the error.
        keep_repeated: keep every copy of a prompt that comes several times with one answer, not only the first.
        keep_conflicting: keep prompts that come with different answers.
        keep_non_integer: keep answers that are no integer (or one that float64 has rounded); integers are normalised
            (``1,080`` is ``1080``). None: the answers of this task are something else, leave them alone.

    Raises:
        ValueError: nothing is left.
    """
    rows = list(problems)
    integers = [_as_integer(problem) for problem in rows] if keep_non_integer is not None else rows
    answers: dict[tuple, set[str]] = defaultdict(set)
    for problem in integers:
        answers[problem.messages].add(problem.answer)
    conflicting = {prompt for prompt, found in answers.items() if len(found) > 1}

    kept, seen = [], set()
    missing = non_integer = rounded = beyond = 0
    for problem in integers:
        sound = keep_non_integer is None or normalize_integer(problem.answer) is not None
        artefact = keep_non_integer is not None and sound and is_float_rounded(problem.answer)
        missing += not problem.answer
        non_integer += bool(problem.answer) and not sound
        rounded += artefact
        beyond += keep_non_integer is not None and sound and not -(2**63) <= int(problem.answer) < 2**63
        wanted = (
            problem.answer
            and (keep_non_integer or (sound and not artefact) or keep_non_integer is None)
            and (keep_conflicting or problem.messages not in conflicting)
            and (keep_repeated or problem not in seen)
        )
        seen.add(problem)
        if wanted:
            kept.append(problem)
    return kept
