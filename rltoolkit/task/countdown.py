"""Countdown: reach a target with some numbers and + - * /, each number exactly once; many right answers, checked by rule.

The answer is the puzzle itself, as JSON: ``{"target": 24, "numbers": [47, 76, 55, 60]}``.

Source: Gandhi et al., arXiv:2404.03683; Jiayi-Pan/Countdown-Tasks-3to4. Config: ``task=countdown``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from rltoolkit.component import check
from rltoolkit.registry import register
from rltoolkit.task._cleaning import drop_duplicates, finish
from rltoolkit.task._splits import hold_out
from rltoolkit.task._table import Row, read_rows
from rltoolkit.task._template import fill
from rltoolkit.task.base import Message, Problem, Split

TEMPLATE = (
    "Using the numbers {numbers}, write an expression that equals {target}. You may use +, -, * and / and parentheses, and "
    "each number exactly once. Think step by step. The last line of your response should be of the form Answer: $Expression "
    "(without quotes), for example Answer: (1 + 2) / 3"
)


@register("task", "countdown")
@dataclass(frozen=True, kw_only=True)
class Countdown:
    """Reads rows with ``target`` and ``nums`` (any prompt in the file is ignored, the template writes it).

    Args:
        path: a local .parquet, .jsonl or .json file; empty: read ``dataset`` from the hub.
        dataset: the hub's id.
        template: the words around ``{numbers}`` and ``{target}``.
        eval_size: puzzles held out for evaluation, drawn by the seed.
        keep_repeated: keep every copy of a repeated puzzle.
    """

    path: str = ""
    dataset: str = "Jiayi-Pan/Countdown-Tasks-3to4"
    template: str = TEMPLATE
    eval_size: int = 256
    keep_repeated: bool = False

    def __post_init__(self) -> None:
        whole = "{numbers}" in self.template and "{target}" in self.template
        check(self, "template", whole, "a text with {numbers} and {target} in it")
        check(self, "eval_size", self.eval_size >= 0, "at least 0")

    def __call__(self, split: Split, seed: int) -> Sequence[Problem]:
        """See ``Task``."""
        rows = (self._problem(row) for row in read_rows(self.path, self.dataset))
        # A prompt states its whole puzzle, so it cannot come with two answers.
        cleaned = drop_duplicates(rows, keep_repeated=self.keep_repeated, keep_conflicting=True)
        problems = finish(cleaned, "countdown", self.path or self.dataset)
        return hold_out(problems, self.eval_size, split, seed, "countdown")

    def _problem(self, row: Row) -> Problem:
        target, numbers = row.read("target"), list(row.read("nums"))
        prompt = fill(self.template, target=str(target), numbers=", ".join(map(str, numbers)))
        return Problem((Message("user", prompt),), json.dumps({"target": target, "numbers": numbers}))
