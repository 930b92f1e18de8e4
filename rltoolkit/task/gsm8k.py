"""GSM8K: grade-school word problems; the answer is the integer after ``####`` in the worked solution.

Source: Cobbe et al., arXiv:2110.14168; openai/gsm8k. Config: ``task=gsm8k``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rltoolkit.component import check
from rltoolkit.registry import register
from rltoolkit.task._cleaning import drop_duplicates, drop_non_integers, finish, normalize_integer
from rltoolkit.task._splits import without
from rltoolkit.task._table import Row, read_rows
from rltoolkit.task._template import PAPER_TEMPLATE, fill
from rltoolkit.task.base import Message, Problem, Split


@register("task", "gsm8k")
@dataclass(frozen=True, kw_only=True)
class GSM8K:
    """Training on the train file, evaluation on the test file; a training problem that is also a test problem is left out.

    Args:
        path: the train file, or a folder with ``train`` and ``test`` files (``gsm8k_train.jsonl``, ``train.parquet``); empty:
            read ``dataset`` from the hub.
        eval_path: the test file, where ``path`` is not a folder that holds it.
        dataset: the hub's id.
        template: the words around ``{problem}``.
    """

    path: str = ""
    eval_path: str = ""
    dataset: str = "openai/gsm8k"
    template: str = PAPER_TEMPLATE

    def __post_init__(self) -> None:
        check(self, "template", "{problem}" in self.template, "a text with {problem} in it")

    def __call__(self, split: Split, seed: int) -> Sequence[Problem]:
        """See ``Task``; the seed changes nothing, as the data comes split."""
        train_path, eval_path = self.path, self.eval_path
        if self.path and Path(self.path).expanduser().is_dir():
            train_path, eval_path = _file_of(self.path, "train"), eval_path or _file_of(self.path, "test")
        if self.path and not eval_path:
            raise ValueError("task.eval_path='': must name the test file, as task.path names the train file alone (task=gsm8k)")
        test = self._problems(eval_path, "test", "task.eval_path")
        return test if split == "eval" else without(self._problems(train_path, "train", "task.path"), test, "gsm8k")

    def _problems(self, path: str, hub_split: str, config: str) -> list[Problem]:
        rows = (self._problem(row) for row in read_rows(path, self.dataset, config=config, subset="main", split=hub_split))
        cleaned = drop_non_integers(drop_duplicates(rows, keep_repeated=False, keep_conflicting=False), keep=False)
        return finish(cleaned, f"gsm8k {hub_split}", path or self.dataset)

    def _problem(self, row: Row) -> Problem:
        prompt = Message("user", fill(self.template, problem=row.text("question")))
        _, _, answer = row.text("answer").rpartition("####")
        return Problem((prompt,), normalize_integer(answer))


def _file_of(folder: str, word: str) -> str:
    for pattern in (f"gsm8k_{word}.*", f"{word}*"):
        found = sorted(Path(folder).expanduser().glob(pattern))
        if len(found) == 1:
            return str(found[0])
    raise FileNotFoundError(f"task.path={folder}: no single file gsm8k_{word}.* or {word}* in this folder (task=gsm8k)")
