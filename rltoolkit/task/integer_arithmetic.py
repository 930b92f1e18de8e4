"""Integer arithmetic: chains of additions and subtractions; each number of operands is equally frequent.

    3+12-7=    ->    8

Operands are drawn from 1..max_operand and the running total stays in [0, limit). Train and eval never share a prompt: a third of all
prompts, chosen by a hash, is kept for evaluation, and ``model=tiny`` is not warm-started on those either. The evaluation
problems are distinct and, like a benchmark's, the same for every seed.

Source: none. Config: ``task=integer_arithmetic``.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from itertools import islice
from typing import ClassVar

from rltoolkit.arithmetic import STYLES, draw_expressions, style
from rltoolkit.component import check
from rltoolkit.registry import register
from rltoolkit.task.base import Message, Problem, Split

_EVAL_SEED = 2503


@register("task", "integer_arithmetic")
@dataclass(frozen=True, kw_only=True)
class IntegerArithmetic:
    """Generated problems.

    Args:
        train_size: problems to train on; short ones repeat, since there are few of them.
        eval_size: distinct problems to evaluate on.
        min_operands: numbers in the shortest problem; at least 2.
        max_operands: numbers in the longest problem.
        max_operand: the largest number in a problem.
        limit: the running total stays below; at least 2 * max_operand.
    """

    styles: ClassVar[tuple[str, ...]] = STYLES
    style = staticmethod(style)

    train_size: int = 10_000
    eval_size: int = 300
    min_operands: int = 2
    max_operands: int = 6
    max_operand: int = 12
    limit: int = 50

    def __post_init__(self) -> None:
        check(self, "train_size", self.train_size >= 1, "at least 1")
        check(self, "eval_size", self.eval_size >= 1, "at least 1")
        check(self, "min_operands", self.min_operands >= 2, "at least 2")
        check(self, "max_operands", self.max_operands >= self.min_operands, f"at least min_operands={self.min_operands}")
        check(self, "max_operand", self.max_operand >= 1, "at least 1")
        check(self, "limit", self.limit >= 2 * self.max_operand, f"at least 2 * max_operand = {2 * self.max_operand}")

    def __call__(self, split: Split, seed: int) -> list[Problem]:
        """The problems of one split.

        Raises:
            ValueError: there are fewer distinct evaluation problems than ``eval_size``.
        """
        evaluating = split == "eval"
        size = self.eval_size if evaluating else self.train_size
        expressions = draw_expressions(
            random.Random(_EVAL_SEED if evaluating else seed),
            range(self.min_operands, self.max_operands + 1),
            held_out=evaluating,
            distinct=evaluating,
            max_operand=self.max_operand,
            limit=self.limit,
        )
        problems = [
            Problem((Message("user", one.prompt),), str(one.answer), difficulty=str(len(one.terms)))
            for one in islice(expressions, size)
        ]
        check(self, f"{split}_size", len(problems) == size, f"at most {len(problems)}: there are no more problems of this size")
        return problems
