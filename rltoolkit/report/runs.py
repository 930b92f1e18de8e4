"""Run folders: what training leaves behind, read back.

    metrics.csv       one row for each optimizer step
    evaluations.csv   one row for each held-out evaluation
    run.json          written at the end: ablation, seed, status (finished or failed), overrides, verifier, sampling

Columns may be blank, and a file may be missing or end within a line: the run may have failed, or still be going.
"""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

TABLE_1 = {
    "naive_grpo": "Naive GRPO",
    "overlong_filtering": "+ Overlong filtering",
    "clip_higher": "+ Clip-higher",
    "soft_overlong_punishment": "+ Soft overlong punishment",
    "token_level_loss": "+ Token-level loss",
    "dynamic_sampling": "+ Dynamic sampling (DAPO)",
}
"""The rows of the paper's Table 1, cumulative and in its order (arXiv:2503.14476, section 4.2), with their titles."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run folder. ``label`` is what runs of different seeds share: the ablation, or else the folder's own path."""

    folder: Path
    label: str
    record: dict[str, Any]
    metrics: list[dict[str, str]]
    evaluations: list[dict[str, str]]

    @property
    def status(self) -> str:
        """``finished``, ``failed``, or ``unfinished`` where the run did not come to write either."""
        status = self.record.get("status")
        return status if status in ("finished", "failed") else "unfinished"

    @property
    def title(self) -> str:
        """The label as a reader's words."""
        return TABLE_1.get(self.label, self.label)


def find_runs(directory: Path) -> list[Run]:
    """All runs below a folder, itself included, at any depth: those of Table 1 first and in its order.

    Raises:
        FileNotFoundError: there is none.
    """
    directory = Path(directory)
    folders = {file.parent for file in directory.rglob("run.json")}
    for file in sorted(directory.rglob("metrics.csv")):  # still going or killed, unless it is a logger's file inside a run
        if not folders & {file.parent, *file.parents}:
            folders.add(file.parent)
    if not folders:
        raise FileNotFoundError(f"no run below {directory}: no folder with a run.json or a metrics.csv")
    order = list(TABLE_1)
    runs = [read_run(folder, directory) for folder in sorted(folders)]
    return sorted(runs, key=lambda run: order.index(run.label) if run.label in order else len(order))


def read_run(folder: Path, root: Path | None = None) -> Run:
    """One run; without an ablation its label is its path below ``root``."""
    folder = Path(folder)
    record = _read_json(folder / "run.json")
    path = folder.relative_to(root).as_posix() if root else "."
    return Run(
        folder=folder,
        label=record.get("ablation") or (path if path != "." else folder.resolve().name),
        record=record,
        metrics=_read_csv(folder / "metrics.csv"),
        evaluations=_read_csv(folder / "evaluations.csv"),
    )


def column(rows: list[dict[str, str]], name: str) -> np.ndarray:
    """One column as float64, NaN where it is blank or not a number."""
    return np.array([_number(row.get(name)) for row in rows], dtype=float)


def last(rows: list[dict[str, str]], name: str) -> float:
    """The last value of a column that is not blank; NaN where there is none."""
    values = column(rows, name)
    values = values[np.isfinite(values)]
    return float(values[-1]) if len(values) else float("nan")


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return float("nan")


def _read_csv(file: Path) -> list[dict[str, str]]:
    if not file.is_file():
        return []
    with file.open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines, restkey="", restval=""))


def _read_json(file: Path) -> dict[str, Any]:
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):  # a job that was killed writes none, or half of one
        return {}
    return record if isinstance(record, dict) else {}
