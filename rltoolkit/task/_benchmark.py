"""Benchmarks: problems to evaluate on and never to train on, each once, and the protocol to evaluate by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from rltoolkit.component import check, label, name_of
from rltoolkit.task._cleaning import drop_duplicates, drop_non_integers, finish, normalize_integer
from rltoolkit.task._table import Row, read_rows
from rltoolkit.task._template import PAPER_TEMPLATE, bare, fill
from rltoolkit.task.base import EvaluationProtocol, Message, Problem, Split

AIME_PROTOCOL = EvaluationProtocol(
    k=32, temperature=1.0, top_p=0.7, max_new_tokens=20480, max_prompt_tokens=2048, problems=30, reward_function="integer_answer"
)
"""DAPO, arXiv:2503.14476, section 4.1: avg@32 at temperature 1.0 and top-p 0.7; 16,384 expected tokens and 4,096 more at most. Prompts
as long as the released script allows."""


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """What the benchmarks share; each names its own data set."""

    protocol: ClassVar[EvaluationProtocol] = AIME_PROTOCOL
    hub_split: ClassVar[str] = "test"
    keep_non_integer: ClassVar[bool] = False

    path: str = ""
    dataset: str = ""
    template: str = PAPER_TEMPLATE

    def __post_init__(self) -> None:
        check(self, "template", "{problem}" in self.template, "a text with {problem} in it")

    def __call__(self, split: Split, seed: int) -> Sequence[Problem]:
        """See ``Task``. Raises ValueError for the training split."""
        if split == "train":
            raise ValueError(f"{label(self)} is for evaluation only; train on another task, for instance dapo_math_17k")
        rows = (self.problem(row) for row in read_rows(self.path, self.dataset, split=self.hub_split))
        cleaned = drop_duplicates(rows, keep_repeated=False, keep_conflicting=False)
        return finish(drop_non_integers(cleaned, keep=self.keep_non_integer), name_of(self), self.path or self.dataset)

    def problem(self, row: Row) -> Problem:
        """A row with messages under ``prompt`` and the answer under ``reward_model.ground_truth``, as DAPO's files have them, or one
        with ``problem`` and ``expected_answer`` or ``answer``; graded where it has a ``level``."""
        if row.has("prompt"):
            text, answer = row.messages("prompt")[-1].content, row.text("reward_model.ground_truth")
        else:
            text, answer = row.text("problem"), row.text("expected_answer" if row.has("expected_answer") else "answer")
        prompt = Message("user", fill(self.template, problem=bare(text)))
        difficulty = f"level {row.text('level')}" if row.has("level") else ""
        return Problem((prompt,), normalize_integer(answer), difficulty)
