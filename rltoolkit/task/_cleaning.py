"""Cleaning: which rows of a table become problems, and how many were dropped or stood out, and why."""

from __future__ import annotations

import logging
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import NamedTuple

from rltoolkit.task.base import Message, Problem

logger = logging.getLogger("rltoolkit.task")

INTEGER = re.compile(r"[+-]?([0-9]{1,3}(,[0-9]{3}){1,1000}|[0-9]{1,4000})")  # Python reads up to 4,300 digits


class Cleaned(NamedTuple):
    """Problems in the table's order, and what was found, in words."""

    problems: Sequence[Problem]
    findings: tuple[str, ...] = ()


def drop_duplicates(rows: Iterable[Problem], *, keep_repeated: bool, keep_conflicting: bool) -> Cleaned:
    """One problem for each prompt, and none for a prompt that comes with different answers, unless they are kept."""
    first: dict[Problem, Problem] = {}
    problems = [first.setdefault(row, row) for row in rows]  # copies share memory: the hub has every DAPO row 100 times
    answers: defaultdict[tuple[Message, ...], set[str]] = defaultdict(set)
    for problem in problems:
        answers[problem.messages].add(problem.answer)
    conflicting = {prompt for prompt, given in answers.items() if len(given) > 1}
    kept = [problem for problem in problems if keep_conflicting or problem.messages not in conflicting]
    if not keep_repeated:
        kept = list(dict.fromkeys(kept))
    return Cleaned(
        kept,
        (
            f"{len(problems):,} rows with {len(answers):,} different prompts",
            *_finding(len(problems) - len(answers), "repeated prompts", keep_repeated),
            *_finding(len(conflicting), "prompts with conflicting answers", keep_conflicting),
        ),
    )


def drop_non_integers(cleaned: Cleaned, *, keep: bool) -> Cleaned:
    """Only problems with an integer answer that can be trusted, unless the others are kept too."""
    flaws = [integer_flaw(problem.answer) for problem in cleaned.problems]
    count = Counter(flaws)
    large = sum(flaw is None and not -(2**63) <= int(p.answer) < 2**63 for p, flaw in zip(cleaned.problems, flaws, strict=True))
    return Cleaned(
        [p for p, flaw in zip(cleaned.problems, flaws, strict=True) if keep or flaw is None],
        (
            *cleaned.findings,
            *_finding(count["not an integer"], "without an integer answer", keep),
            *_finding(count["float-rounded"], "with an answer rounded by a float", keep),
            *_finding(large, "with another answer beyond int64", True),
        ),
    )


def finish(cleaned: Cleaned, name: str, source: str) -> list[Problem]:
    """The problems that have an answer at all, with one log line of what was found.

    Raises:
        ValueError: no problem is left.
    """
    problems = [problem for problem in cleaned.problems if problem.answer]
    findings = "; ".join(cleaned.findings)
    if not problems:
        raise ValueError(f"task.path={source}: no problem is left of {findings} (task={name})")
    logger.info("task %s: %s; %s problems", name, findings, f"{len(problems):,}")
    return problems


def normalize_integer(answer: str) -> str:
    r"""``1,080``, ``$025.`` and ``10,\!080`` as ``1080``, ``25`` and ``10080``; what is not an integer comes back stripped."""
    text = answer.strip()
    digits = re.sub(r"\\!\s*|\\?\$", "", text).replace("{,}", ",").rstrip(".")
    return str(int(digits.replace(",", ""))) if INTEGER.fullmatch(digits) else text


def integer_flaw(answer: str) -> str | None:
    """Why a normalised answer is not an integer to train on: ``not an integer``, ``float-rounded`` or None.

    An integer beyond 2^53 whose digits are those of a float64, and not the shortest ones that name this float, has been
    through a float that could not hold it: 221 * 10^20 read back as 22099999999999998951424.
    """
    if not INTEGER.fullmatch(answer):
        return "not an integer"
    value = int(answer)
    if 2**53 < abs(value) < 10**300 and int(float(value)) == value != int(Decimal(repr(float(value)))):
        return "float-rounded"
    return None


def _finding(count: int, what: str, keep: bool) -> tuple[str, ...]:
    return (f"{count:,} {what} ({'kept' if keep else 'dropped'})",) if count else ()
