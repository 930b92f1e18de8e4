"""DAPO-Math-17K: the paper's training problems, competition mathematics rewritten so that each answer is an integer.

Reads the released form (a list of messages under ``prompt``, the answer under ``reward_model.ground_truth``), with or
without the paper's template already in the prompts. The hub's file holds every row 100 times; each prompt is used once.

Source: DAPO, arXiv:2503.14476, section 3.5; BytedTsinghua-SIA/DAPO-Math-17k. Config: ``task=dapo_math_17k``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rltoolkit.component import check
from rltoolkit.registry import register
from rltoolkit.task._cleaning import drop_duplicates, drop_non_integers, finish, normalize_integer
from rltoolkit.task._splits import hold_out
from rltoolkit.task._table import Row, read_rows
from rltoolkit.task._template import PAPER_TEMPLATE, bare, fill
from rltoolkit.task.base import Message, Problem, Split


@register("task", "dapo_math_17k")
@dataclass(frozen=True, kw_only=True)
class DAPOMath17K:
    """The two splits come from one table: ``eval_size`` prompts are held out of training.

    Args:
        path: a local .parquet, .jsonl or .json file; empty: read ``dataset`` from the hub.
        dataset: the hub's id.
        template: the words around ``{problem}``.
        eval_size: prompts held out for evaluation, drawn by the seed.
        keep_non_integer: keep rows whose answer is no integer, or one that a float has rounded.
        keep_repeated: keep every copy of a repeated prompt.
        keep_conflicting: keep prompts that come with different answers.
    """

    path: str = ""
    dataset: str = "BytedTsinghua-SIA/DAPO-Math-17k"
    template: str = PAPER_TEMPLATE
    eval_size: int = 256
    keep_non_integer: bool = False
    keep_repeated: bool = False
    keep_conflicting: bool = False

    def __post_init__(self) -> None:
        check(self, "template", "{problem}" in self.template, "a text with {problem} in it")
        check(self, "eval_size", self.eval_size >= 0, "at least 0")

    def __call__(self, split: Split, seed: int) -> Sequence[Problem]:
        """See ``Task``."""
        rows = (self._problem(row) for row in read_rows(self.path, self.dataset))
        cleaned = drop_duplicates(rows, keep_repeated=self.keep_repeated, keep_conflicting=self.keep_conflicting)
        cleaned = drop_non_integers(cleaned, keep=self.keep_non_integer)
        problems = finish(cleaned, "dapo_math_17k", self.path or self.dataset)
        return hold_out(problems, self.eval_size, split, seed, "dapo_math_17k")

    def _problem(self, row: Row) -> Problem:
        *context, last = row.messages("prompt")
        prompt = Message(last.role, fill(self.template, problem=bare(last.content)))
        return Problem((*context, prompt), normalize_integer(row.text("reward_model.ground_truth")))
