"""Chat arithmetic: sums, differences and products of numbers of one to three digits, for a small instruction-tuned model.

    What is 7*6?    ->    7*6=42
                          Answer: 42

Four worked examples go before each question as turns of the conversation; they end in the line that the reward function
``integer_answer`` reads, or in what ``example`` says. Train and eval never share a question: a third of all questions, chosen by a
hash, is kept for evaluation. The evaluation questions are distinct and, like a benchmark's, the same for every seed.

Source: none. Config: ``task=chat_arithmetic``.
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
from rltoolkit.task._template import fill
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
    def working(self) -> str:
        """``7*6=42``"""
        return f"{self.left}{self.sign}{self.right}={self.answer}"


_ONE_DIGIT = [Question(a, sign, b) for a, sign, b in product(range(10), "+-*", range(10)) if sign != "-" or a >= b]
_TWO_DIGITS = [Question(a, sign, b) for a, sign, b in product(range(10, 100), "+-", range(10, 100)) if sign != "-" or a >= b]
_THREE_DIGITS = range(100, 1000, 36)  # so few of them that sums, differences and products are about equally many
_HARD = [
    *(Question(a, "*", b) for a, b in product(range(10, 100), range(2, 10))),
    *(Question(a, sign, b) for a, sign, b in product(_THREE_DIGITS, "+-", _THREE_DIGITS) if sign != "-" or a >= b),
]
_QUESTIONS = {"one digit": _ONE_DIGIT, "two digits": _TWO_DIGITS, "hard": _HARD}
_EXAMPLES = (Question(3, "+", 4), Question(9, "-", 2), Question(6, "*", 3), Question(21, "+", 34))


@register("task", "chat_arithmetic")
@dataclass(frozen=True, kw_only=True)
class ChatArithmetic:
    """Generated questions without negative results, of three difficulties:

    - one digit: sums, differences and products;
    - two digits: sums and differences;
    - hard: sums and differences of three digits, products of two digits and one.

    Args:
        train_size: questions to train on; they repeat, since there are few of them.
        eval_size: distinct questions to evaluate on.
        two_digit_share: the share of questions with two digits, in [0, 1].
        hard_share: the share of hard questions; the two shares are at most 1 together.
        example: what the worked examples answer: ``{working}`` is 7*6=42, ``{answer}`` is 42.
    """

    train_size: int = 10_000
    eval_size: int = 100
    two_digit_share: float = 0.25
    hard_share: float = 0.0
    example: str = "{working}\nAnswer: {answer}"

    def __post_init__(self) -> None:
        check(self, "train_size", self.train_size >= 1, "at least 1")
        check(self, "eval_size", self.eval_size >= 1, "at least 1")
        check(self, "two_digit_share", 0 <= self.two_digit_share <= 1, "in [0, 1]")
        room = round(1 - self.two_digit_share, 9)
        check(self, "hard_share", 0 <= self.hard_share <= room, f"in [0, 1 - two_digit_share = {room:g}]")
        check(self, "example", "{answer}" in self.example, "a text with {answer} in it")
        for difficulty, count in self._counts(self.eval_size).items():
            held_out = len(_side(_QUESTIONS[difficulty], held_out=True))
            fewer = f"smaller: {count} of them would be of {difficulty}, and {held_out} are held out"
            check(self, "eval_size", count <= held_out, fewer)

    def __call__(self, split: Split, seed: int) -> list[Problem]:
        """The questions of one split, all difficulties shuffled together."""
        evaluating = split == "eval"
        rng = random.Random(_EVAL_SEED if evaluating else seed)
        draw = rng.sample if evaluating else (lambda questions, count: rng.choices(questions, k=count))
        drawn = [
            (question, difficulty)
            for difficulty, count in self._counts(self.eval_size if evaluating else self.train_size).items()
            for question in draw(_side(_QUESTIONS[difficulty], evaluating), count)
        ]
        rng.shuffle(drawn)
        examples = tuple(self._worked_examples())
        return [
            Problem((*examples, Message("user", question.text)), str(question.answer), difficulty)
            for question, difficulty in drawn
        ]

    def _counts(self, size: int) -> dict[str, int]:
        """How many of ``size`` questions are of each difficulty."""
        two, hard = round(self.two_digit_share * size), round(self.hard_share * size)
        return {"one digit": max(0, size - two - hard), "two digits": two, "hard": hard}

    def _worked_examples(self) -> Iterator[Message]:
        for example in _EXAMPLES:
            yield Message("user", example.text)
            yield Message("assistant", fill(self.example, working=example.working, answer=str(example.answer)))


def _side(questions: list[Question], held_out: bool) -> list[Question]:
    """The questions of one side of the split, without those that the worked examples answer."""
    return [
        question
        for question in questions
        if question not in _EXAMPLES and (zlib.crc32(question.text.encode()) % 3 == 0) is held_out
    ]
