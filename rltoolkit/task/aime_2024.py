"""AIME 2024: the 30 problems of both contests of 2024, on which the paper evaluates.

Reads three forms: the released evaluation file (messages under ``prompt``, the answer under ``reward_model.ground_truth``,
every problem 32 times, the paper's template in place), and rows with ``problem`` and ``expected_answer`` or ``answer``.
Each problem is returned once; how often it is sampled (k) is the evaluation's business.

Source: DAPO, arXiv:2503.14476, section 4.1; BytedTsinghua-SIA/AIME-2024. Config: ``task=aime_2024``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rltoolkit.component import check
from rltoolkit.registry import register
from rltoolkit.task._cleaning import drop_duplicates, drop_non_integers, finish, normalize_integer
from rltoolkit.task._table import Row, read_rows
from rltoolkit.task._template import PAPER_TEMPLATE, bare, fill
from rltoolkit.task.base import Message, Problem, Split


@register("task", "aime_2024")
@dataclass(frozen=True, kw_only=True)
class AIME2024:
    """For evaluation only: there is no training split.

    Args:
        path: a local .parquet, .jsonl or .json file; empty: read ``dataset`` from the hub.
        dataset: the hub's id.
        template: the words around ``{problem}``.
    """

    path: str = ""
    dataset: str = "BytedTsinghua-SIA/AIME-2024"
    template: str = PAPER_TEMPLATE

    def __post_init__(self) -> None:
        check(self, "template", "{problem}" in self.template, "a text with {problem} in it")

    def __call__(self, split: Split, seed: int) -> Sequence[Problem]:
        """See ``Task``. Raises ValueError for the training split."""
        if split == "train":
            raise ValueError("task=aime_2024 is for evaluation only; train on another task, for instance dapo_math_17k")
        rows = (self._problem(row) for row in read_rows(self.path, self.dataset))
        cleaned = drop_non_integers(drop_duplicates(rows, keep_repeated=False, keep_conflicting=False), keep=False)
        return finish(cleaned, "aime_2024", self.path or self.dataset)

    def _problem(self, row: Row) -> Problem:
        if row.has("prompt"):
            text, answer = row.messages("prompt")[-1].content, row.text("reward_model.ground_truth")
        else:
            text, answer = row.text("problem"), row.text("expected_answer" if row.has("expected_answer") else "answer")
        prompt = Message("user", fill(self.template, problem=bare(text)))
        return Problem((prompt,), normalize_integer(answer))
