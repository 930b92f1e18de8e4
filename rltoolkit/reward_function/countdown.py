"""Countdown: an arithmetic expression that uses each given number exactly once and reaches the target.

    correct = value(expression) equals target and numbers(expression) equals the given numbers;   reward = +1 if correct else -1

The reference is JSON: ``{"target": 24, "numbers": [1, 2, 3, 4]}``. The expression is what the last <answer>...</answer> holds;
without one the rest of the last ``Answer:`` line; without either the whole response; in each case up to an ``=``. It may have
whole numbers of at most 20 digits, + - * / and parentheses, no sign before a number, and at most ``max_length`` characters. It
is parsed here, never evaluated as code, and computed in exact fractions.

Source: none; the Countdown game as a task of reinforcement learning, TinyZero. Config: ``reward_function=countdown``.
"""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from rltoolkit.component import check
from rltoolkit.registry import register
from rltoolkit.reward_function.base import Verdict, last_answer_line, tagged_answer, verdict

_ASCII = str.maketrans("×÷−", "*/-")
_SPACED = re.compile(r" ?([-+*/()]) ?")  # a space between two digits stays, and is no expression
_TOKEN = re.compile(r"(?<![0-9])[0-9]{1,20}(?![0-9])|[-+*/()]")  # Python refuses to read integers of thousands of digits
_OPERATORS: dict[str, tuple[int, Callable[[Fraction, Fraction], Fraction]]] = {
    "+": (1, operator.add),
    "-": (1, operator.sub),
    "*": (2, operator.mul),
    "/": (2, operator.truediv),
}


@register("reward_function", "countdown")
@dataclass(frozen=True, kw_only=True)
class Countdown:
    """A puzzle may have many right expressions.

    Args:
        max_length: characters of the longest expression that is read, at least 1.
    """

    max_length: int = 200

    def __post_init__(self) -> None:
        check(self, "max_length", self.max_length >= 1, "at least 1")

    def __call__(self, texts: list[str], answers: list[str]) -> Verdict:
        """N responses and N references -> Verdict [N]. Raises ValueError or KeyError for a reference of another form."""
        return verdict(self._solves(self.extract(text), json.loads(answer)) for text, answer in zip(texts, answers, strict=True))

    def extract(self, text: str) -> str | None:
        """The expression without spaces, or None where there is nothing that could be one."""
        answer = tagged_answer(text) or last_answer_line(text)[1] or text
        expression = answer.partition("=")[0].strip().strip("$`*.")
        if not 0 < len(expression) <= self.max_length:
            return None
        return _SPACED.sub(r"\1", " ".join(expression.translate(_ASCII).split()))

    def _solves(self, expression: str | None, puzzle: dict[str, Any]) -> bool:
        tokens = _TOKEN.findall(expression or "")
        if "".join(tokens) != (expression or ""):
            return False
        numbers = sorted(int(token) for token in tokens if token.isdigit())
        return numbers == sorted(puzzle["numbers"]) and value(tokens) == puzzle["target"]


def value(tokens: list[str]) -> Fraction | None:
    """The value of an infix expression, left to right within a precedence; None where it is malformed or divides by zero."""
    values: list[Fraction] = []
    pending: list[str] = []
    operand_next = True

    def apply() -> None:
        right, left = values.pop(), values.pop()
        values.append(_OPERATORS[pending.pop()][1](left, right))

    try:
        for token in tokens:
            if operand_next != (token == "(" or token.isdigit()):
                return None
            if token.isdigit():
                values.append(Fraction(int(token)))
            elif token == "(":
                pending.append(token)
            elif token == ")":
                while pending[-1] != "(":
                    apply()
                pending.pop()
            else:
                while pending and pending[-1] != "(" and _OPERATORS[pending[-1]][0] >= _OPERATORS[token][0]:
                    apply()
                pending.append(token)
            operand_next = token != ")" and not token.isdigit()
        while pending:
            apply()
    except (IndexError, KeyError, ZeroDivisionError):  # an unmatched parenthesis, or a division by zero
        return None
    return values[0] if len(values) == 1 and not operand_next else None
