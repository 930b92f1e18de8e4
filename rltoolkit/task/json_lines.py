"""JSON lines: any table with a prompt and an answer in each row; the fields' names are config.

Reads .jsonl, .json and .parquet files. ``task=json_lines task.path=my.jsonl`` trains on nine tenths of the prompts and evaluates
on the rest. To evaluate on all of a file, name it in ``eval_path``, for instance MATH-500 with
``eval_task=json_lines eval_task.json_lines.eval_path=math500.jsonl eval_task.json_lines.prompt_field=problem``.

Source: none. Config: ``task=json_lines``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rltoolkit.component import check
from rltoolkit.registry import register
from rltoolkit.task._cleaning import drop_duplicates, drop_non_integers, finish, normalize_integer
from rltoolkit.task._splits import hold_out, without
from rltoolkit.task._table import Row, read_rows
from rltoolkit.task._template import fill
from rltoolkit.task.base import Message, Problem, Split


@register("task", "json_lines")
@dataclass(frozen=True, kw_only=True)
class JSONLines:
    """A prompt is a string, or a list of messages with ``role`` and ``content``, of which the template wraps the last.

    Args:
        path: a local .jsonl, .json or .parquet file; empty: read ``dataset`` from the hub.
        dataset: the hub's id.
        eval_path: another such file to evaluate on; training leaves its prompts out. Empty: hold out ``eval_size`` prompts.
        prompt_field, answer_field: the fields' names, dotted where they are nested (``reward_model.ground_truth``).
        template: the words around ``{problem}``.
        eval_size: prompts held out for evaluation, drawn by the seed; null: a tenth of them, 0: none. ``eval_path`` overrules it.
        keep_non_integer: keep rows whose answer is no integer, or one that a float has rounded.
        keep_repeated: keep every copy of a repeated prompt.
        keep_conflicting: keep prompts that come with different answers.
    """

    path: str = ""
    dataset: str = ""
    eval_path: str = ""
    prompt_field: str = "prompt"
    answer_field: str = "answer"
    template: str = "{problem}"
    eval_size: int | None = None
    keep_non_integer: bool = True
    keep_repeated: bool = False
    keep_conflicting: bool = False

    def __post_init__(self) -> None:
        check(self, "template", "{problem}" in self.template, "a text with {problem} in it")
        check(self, "eval_size", self.eval_size is None or self.eval_size >= 0, "at least 0, or null")

    def __call__(self, split: Split, seed: int) -> Sequence[Problem]:
        """See ``Task``."""
        if not self.eval_path:
            problems = self._problems(self.path, "task.path")
            return hold_out(problems, self.eval_size, split, seed, "json_lines")
        evaluation = self._problems(self.eval_path, "task.eval_path")
        return evaluation if split == "eval" else without(self._problems(self.path, "task.path"), evaluation, "json_lines")

    def _problems(self, path: str, config: str) -> list[Problem]:
        rows = (self._problem(row) for row in read_rows(path, self.dataset, config=config))
        cleaned = drop_duplicates(rows, keep_repeated=self.keep_repeated, keep_conflicting=self.keep_conflicting)
        return finish(drop_non_integers(cleaned, keep=self.keep_non_integer), "json_lines", path or self.dataset)

    def _problem(self, row: Row) -> Problem:
        *context, last = row.messages(self.prompt_field, "task.prompt_field")
        prompt = Message(last.role, fill(self.template, problem=last.content))
        return Problem((*context, prompt), normalize_integer(row.text(self.answer_field, "task.answer_field")))
