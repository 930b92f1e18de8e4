"""Integer arithmetic with a running total, and the ways of answering it that the laptop's model is warm-started on.

A problem is a chain of additions and subtractions, ``3+12-7=``; its answer is the total, 8. A response may be

- direct: the answer at once, ``=8#``;
- a scratchpad: one step an operation, ``3+12=15;15-7=8#``;
- a rambling scratchpad: one of its steps over and over, perhaps until the length limit cuts it off;
- junk: a tilde and the prompt over and over, always cut off.

The direct answer is short and mostly wrong, the scratchpad long, rarely begun and mostly right when it comes to its end: what
reinforcement learning has to find. The first character tells the styles apart, and in each of them the answer is the integer
after the last ``=`` before the end-of-sequence sign ``#``.

Pure Python; everything random is drawn from the generator that is handed in.
"""

from __future__ import annotations

import random
import re
import zlib
from collections.abc import Iterable, Iterator
from itertools import accumulate, chain, pairwise
from typing import NamedTuple

END = "#"
STEP_SEPARATOR = ";"
JUNK_SIGN = "~"
ALPHABET = "0123456789+-=" + STEP_SEPARATOR + JUNK_SIGN + END

STYLES = ("direct", "sound", "rambling", "flawed", "junk")
"""What ``style`` calls a response."""

_STEP = re.compile(r"([0-9]{1,9})([+-][0-9]{1,9})=([0-9]*)")
_BEGUN = re.compile(r"[0-9]{0,9}([+-][0-9]{0,9})?")  # cut off before the equals sign
_PATIENCE = 1000  # useless draws in a row after which a search for new expressions gives up


class Expression(NamedTuple):
    """A chain of signed terms: 3+12-7 is (3, 12, -7)."""

    terms: tuple[int, ...]

    @property
    def prompt(self) -> str:
        """``3+12-7=``"""
        return f"{self.terms[0]}" + "".join(f"{term:+d}" for term in self.terms[1:]) + "="

    @property
    def answer(self) -> int:
        """The total."""
        return sum(self.terms)

    @property
    def steps(self) -> list[str]:
        """``["3+12=15", "15-7=8"]``"""
        totals = pairwise(accumulate(self.terms))
        return [f"{before}{term:+d}={after}" for (before, after), term in zip(totals, self.terms[1:], strict=True)]


def draw_expression(rng: random.Random, operands: int, *, max_operand: int = 12, limit: int = 50) -> Expression:
    """A random chain of ``operands`` numbers in 1..max_operand whose running total stays in [0, limit).

    A sign that would leave the range is turned over; ``limit >= 2 * max_operand`` makes that enough.
    """
    terms = [rng.randint(1, max_operand)]
    total = terms[0]
    for _ in range(operands - 1):
        operand, sign = rng.randint(1, max_operand), rng.choice((1, -1))
        if not 0 <= total + sign * operand < limit:
            sign = -sign
        terms.append(sign * operand)
        total += terms[-1]
    return Expression(tuple(terms))


def draw_expressions(
    rng: random.Random, operands: Iterable[int], *, held_out: bool, distinct: bool = False, max_operand: int = 12, limit: int = 50
) -> Iterator[Expression]:
    """Random expressions from one side of the split, each number of operands in turn, so that all come equally often.

    Endless, unless a number of operands runs out: because they must be ``distinct``, or because its side of the split is empty.
    """

    def of_length(count: int) -> Iterator[Expression]:
        seen: set[Expression] = set()
        misses = 0
        while misses < _PATIENCE:
            expression = draw_expression(rng, count, max_operand=max_operand, limit=limit)
            if is_held_out(expression.prompt) is not held_out or expression in seen:
                misses += 1
                continue
            misses = 0
            if distinct:
                seen.add(expression)
            yield expression

    return chain.from_iterable(zip(*map(of_length, operands), strict=False))


def is_held_out(prompt: str) -> bool:
    """Whether a prompt is kept for evaluation: a third of all prompts are, whatever the seed, so nothing ever trains on them."""
    return zlib.crc32(prompt.encode()) % 3 == 0


def direct(expression: Expression) -> str:
    """``=8#``"""
    return f"={expression.answer}{END}"


def scratchpad(expression: Expression) -> str:
    """``3+12=15;15-7=8#``"""
    return STEP_SEPARATOR.join(expression.steps) + END


def rambling(expression: Expression, rng: random.Random, persistence: float) -> str:
    """A scratchpad that says one step again, and once more with probability ``persistence`` each time."""
    steps = expression.steps
    repeated = rng.randrange(len(steps))
    repetitions = 1
    while rng.random() < persistence:
        repetitions += 1
    return STEP_SEPARATOR.join(steps[: repeated + 1] + [steps[repeated]] * repetitions + steps[repeated + 1 :]) + END


def junk(expression: Expression, length: int) -> str:
    """``~3+12-7=~3+12-7=~...``, ``length`` characters without an end."""
    unit = JUNK_SIGN + expression.prompt
    return (unit * (length // len(unit) + 1))[:length]


def style(response: str) -> str:
    """How a response, whole or cut off, goes about its problem; told from the text alone, so numbers copied wrongly are not seen.

    - direct: no steps, ``=8``;
    - sound: every step is right and goes on from the one before, ``3+12=15;15-7=8``;
    - rambling: a step stands there twice in a row, ``3+12=15;3+12=15``;
    - flawed: a scratchpad with a wrong step, or one that does not follow, ``3+12=14``;
    - junk: anything else.
    """
    if response.startswith("="):
        return "direct"
    if not re.match("[0-9]", response):
        return "junk"
    steps = response.split(STEP_SEPARATOR)
    if any(one == next_one for one, next_one in pairwise(steps)):
        return "rambling"
    return "sound" if _follows(steps) else "flawed"


def _follows(steps: list[str]) -> bool:
    """Whether each step is right and begins with the total before; the last one may be cut off."""
    total = None
    for position, step in enumerate(steps, start=1):
        parts, is_last = _STEP.fullmatch(step), position == len(steps)
        if parts is None:
            return is_last and _BEGUN.fullmatch(step) is not None
        before, after = int(parts[1]), int(parts[1]) + int(parts[2])
        if before != (before if total is None else total):
            return False
        if not (str(after) == parts[3] or (is_last and str(after).startswith(parts[3]))):
            return False
        total = after
    return True
