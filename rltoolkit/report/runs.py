"""Run folders: what training leaves behind, read back.

    metrics.csv       one row for each optimizer step
    evaluations.csv   one row for each held-out evaluation
    run.json          written at the start and at every change of status: config, ablation, seed, verifier, sampling,
                      status (running, finished, interrupted or failed)

Columns may be blank, and a file may be missing or end within a line: the run may have failed, or still be going.
"""

from __future__ import annotations

import csv
import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rltoolkit.report._labels import Label, labels

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
    """One run folder, with what it shares with the seeds of the same configuration."""

    folder: Path
    shared: Label
    record: dict[str, Any]
    metrics: list[dict[str, str]]
    evaluations: list[dict[str, str]]

    @property
    def status(self) -> str:
        """``finished``, ``failed``, or ``unfinished``: still going, interrupted or killed."""
        status = self.record.get("status")
        return status if status in ("finished", "failed") else "unfinished"

    @property
    def label(self) -> str:
        """The same for runs of the same configuration, and for no others."""
        return ", ".join(filter(None, self.shared))

    @property
    def title(self) -> str:
        """The label in a reader's words."""
        return ", ".join(filter(None, (TABLE_1.get(self.shared.name, self.shared.name), self.shared.difference)))


def find_runs(directory: Path) -> list[Run]:
    """All runs below a folder, itself included, at any depth: those of Table 1 first and in its order.

    Raises:
        FileNotFoundError: there is none.
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise FileNotFoundError(f"no such folder: {directory}")
    folders = {file.parent for file in directory.rglob("run.json")}
    for file in sorted(directory.rglob("metrics.csv")):  # still going or killed, unless it is a logger's file inside a run
        if not folders & {file.parent, *file.parents}:
            folders.add(file.parent)
    if not folders:
        raise FileNotFoundError(f"no run below {directory}: no folder with a run.json or a metrics.csv")
    runs = [read_run(folder) for folder in sorted(folders)]
    names = [_name(run.folder, directory) for run in runs]
    shared = labels(dict(zip(names, (run.record for run in runs), strict=True)))
    runs = [dataclasses.replace(run, shared=shared[name]) for name, run in zip(names, runs, strict=True)]
    order = list(TABLE_1)
    return sorted(runs, key=lambda run: order.index(run.shared.name) if run.shared.name in order else len(order))


def read_run(folder: Path) -> Run:
    """One run, by itself."""
    folder = Path(folder)
    record = _read_json(folder / "run.json")
    name = folder.resolve().name
    return Run(
        folder=folder,
        shared=labels({name: record})[name],
        record=record,
        metrics=_read_csv(folder / "metrics.csv"),
        evaluations=_read_csv(folder / "evaluations.csv"),
    )


def _name(folder: Path, root: Path) -> str:
    """A run's folder below ``root``; its own name where it is ``root``."""
    return folder.relative_to(root).as_posix() if folder != root else folder.resolve().name


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
