"""Chat arithmetic: sums, differences and products of one- and two-digit numbers, for a small instruction-tuned model.

    What is 7*6?    ->    7*6=42
                          Answer: 42

Four worked examples go before each question as turns of the conversation; they end in the line that the reward function
``integer_answer`` reads. Train and eval never share a question: a third of all questions, chosen by a hash, is kept for
evaluation. The evaluation questions are distinct and, like a benchmark's, the same for every seed.

Config: ``task=chat_arithmetic``.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

from rltoolkit.component import check
from rltoolkit.registry import register
from rltoolkit.task.base import Message, Problem, Split

_EVAL_SEED = 2503


class Question(NamedTuple):
    """Two numbers and the sign between them."""

    left: int
    sign: str
    right: int

    @property
    def text(self) -> str:
        """``What is 7*6?``"""
        return f"What is {self.left}{self.sign}{self.right}?"

    @property
    def answer(self) -> int:
        """The result."""
        return {"+": self.left + self.right, "-": self.left - self.right, "*": self.left * self.right}[self.sign]

    @property
    def worked(self) -> str:
        """The answer as a worked example gives it."""
        return f"{self.left}{self.sign}{self.right}={self.answer}\nAnswer: {self.answer}"


_ONE_DIGIT = [Question(a, sign, b) for a, sign, b in product(range(10), "+-*", range(10)) if sign != "-" or a >= b]
_TWO_DIGITS = [Question(a, sign, b) for a, sign, b in product(range(10, 100), "+-", range(10, 100)) if sign != "-" or a >= b]
_EXAMPLES = (Question(3, "+", 4), Question(9, "-", 2), Question(6, "*", 3), Question(21, "+", 34))


@register("task", "chat_arithmetic")
@dataclass(frozen=True, kw_only=True)
class ChatArithmetic:
    """Generated questions: one-digit sums, differences and products, two-digit sums and differences, no negative results.

    Args:
        train_size: questions to train on; they repeat, since there are few of them.
        eval_size: distinct questions to evaluate on.
        two_digit_share: the share of questions with two-digit numbers, in [0, 1].
    """

    train_size: int = 10_000
    eval_size: int = 100
    two_digit_share: float = 0.25

    def __post_init__(self) -> None:
        check(self, "train_size", self.train_size >= 1, "at least 1")
        check(self, "eval_size", self.eval_size >= 1, "at least 1")
        check(self, "two_digit_share", 0 <= self.two_digit_share <= 1, "in [0, 1]")
        two, one = self._counts(self.eval_size)
        enough = one <= len(_side(_ONE_DIGIT, held_out=True)) and two <= len(_side(_TWO_DIGITS, held_out=True))
        check(
            self, "eval_size", enough, f"smaller: there are not {one} distinct one-digit and {two} two-digit questions held out"
        )

    def __call__(self, split: Split, seed: int) -> list[Problem]:
        """The questions of one split, one- and two-digit ones shuffled together."""
        evaluating = split == "eval"
        rng = random.Random(_EVAL_SEED if evaluating else seed)
        draw = rng.sample if evaluating else (lambda questions, count: rng.choices(questions, k=count))
        two, one = self._counts(self.eval_size if evaluating else self.train_size)
        questions = [*draw(_side(_ONE_DIGIT, evaluating), one), *draw(_side(_TWO_DIGITS, evaluating), two)]
        rng.shuffle(questions)
        return [Problem((*_worked_examples(), Message("user", question.text)), str(question.answer)) for question in questions]

    def _counts(self, size: int) -> tuple[int, int]:
        """How many of ``size`` questions have two digits, and how many have one."""
        two = round(self.two_digit_share * size)
        return two, size - two


def _side(questions: list[Question], held_out: bool) -> list[Question]:
    """The questions of one side of the split, without those that the worked examples answer."""
    return [
        question
        for question in questions
        if question not in _EXAMPLES and (zlib.crc32(question.text.encode()) % 3 == 0) is held_out
    ]


def _worked_examples() -> Iterator[Message]:
    for example in _EXAMPLES:
        yield Message("user", example.text)
        yield Message("assistant", example.worked)
