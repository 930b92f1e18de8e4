"""Runs, read back from what training leaves behind.

    metrics.csv       one row for each optimizer step; in a report one for each rollout step, the mean of its optimizer steps
    evaluations.csv   one row for each held-out evaluation
    run.json          written at the start and at every change of status: config, ablation, seed, status
                      (running, finished, interrupted or failed)

Columns (``rltoolkit.columns``) may be blank, and a file may be missing or end within a line: the run may have failed, or still be
going. Where a folder holds no runs but the two files of a published sweep (``published``), the runs are read from those.
"""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from rltoolkit.report._labels import Label, labels
from rltoolkit.report.rows import order, title

COUNTERS = ("optimizer_step", "rollout_step", "generated_tokens_total", "seconds")
"""Columns that only grow: a rollout step has their last value."""

Table = list[dict[str, str]]


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run, with what it shares with the seeds of the same configuration."""

    path: str
    """its folder, below the report's"""
    shared: Label
    seed: str
    status: str
    """``finished``, ``failed``, or ``unfinished``: still going, interrupted or killed"""
    steps: Table
    """one row for each rollout step"""
    held_out: dict[str, Table]
    """the evaluations of each held-out task by its name, which is empty where the file gives none"""

    @property
    def evaluations(self) -> Table:
        """Those of the first task."""
        return next(iter(self.held_out.values()), [])

    @property
    def label(self) -> str:
        """The same for runs of the same configuration, and for no others."""
        return ", ".join(filter(None, self.shared))

    @property
    def title(self) -> str:
        """The label in a reader's words."""
        return ", ".join(filter(None, (title(self.shared.name), self.shared.difference)))


def find_runs(directory: Path) -> list[Run]:
    """All runs below a folder, itself included, at any depth: known rows first and in their order.

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
    named = {_name(folder, directory): folder for folder in sorted(folders)}
    records = {name: _read_json(folder / "run.json") for name, folder in named.items()}
    shared = labels(records)
    runs = [_read(folder, name, shared[name], records[name]) for name, folder in named.items()]
    return sorted(runs, key=lambda run: order(run.shared.name))


def read_run(folder: Path) -> Run:
    """One run, by itself."""
    folder = Path(folder)
    name, record = folder.resolve().name, _read_json(folder / "run.json")
    return _read(folder, name, labels({name: record})[name], record)


def _read(folder: Path, name: str, shared: Label, record: dict[str, Any]) -> Run:
    status = record.get("status")
    return Run(
        path=name,
        shared=shared,
        seed=str(record.get("seed", "")),
        status=status if status in ("finished", "failed") else "unfinished",
        steps=by_rollout_step(read_csv(folder / "metrics.csv")),
        held_out=by_task(read_csv(folder / "evaluations.csv")),
    )


def _name(folder: Path, root: Path) -> str:
    """A run's folder below ``root``; its own name where it is ``root``."""
    return folder.relative_to(root).as_posix() if folder != root else folder.resolve().name


def by_task(evaluations: Table) -> dict[str, Table]:
    """The evaluations of each held-out task, in the order in which tasks are first evaluated."""
    tasks: dict[str, Table] = {}
    for row in evaluations:
        tasks.setdefault(row.get("task", ""), []).append(row)
    return tasks


def by_rollout_step(metrics: Table) -> Table:
    """One row for each rollout step: of a counter the last value, of everything else the mean over those that are not blank.

    ``gradient_noise`` is made here: the standard deviation of the gradient norm over the mini-batches of a rollout step, over their
    mean. These mini-batches are alike but for chance, so it says what chance does to one of them.
    """
    steps = []
    for _, group in groupby(metrics, key=lambda row: row.get("rollout_step") or row.get("optimizer_step")):
        rows = list(group)
        step = {}
        for name in rows[0]:
            values = column(rows, name)
            values = values[np.isfinite(values)]
            if len(values):
                step[name] = f"{values[-1] if name in COUNTERS else values.mean():.10g}"
        norms = column(rows, "gradient_norm")
        if len(norms) > 1 and norms.mean() > 0:
            step["gradient_noise"] = f"{norms.std(ddof=1) / norms.mean():.10g}"
        steps.append(step)
    return steps


def column(rows: Table, name: str) -> np.ndarray:
    """One column as float64, NaN where it is blank or not a number."""
    return np.array([_number(row.get(name)) for row in rows], dtype=float)


def last(rows: Table, name: str) -> float:
    """The last value of a column that is not blank; NaN where there is none."""
    values = column(rows, name)
    values = values[np.isfinite(values)]
    return float(values[-1]) if len(values) else float("nan")


def by_label(runs: list[Run]) -> dict[str, list[Run]]:
    """The runs of each configuration, in their order."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(run.label, []).append(run)
    return groups


def read_csv(file: Path) -> Table:
    """A file's rows; none where it is missing."""
    if not file.is_file():
        return []
    with file.open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines, restkey="", restval=""))


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return float("nan")


def _read_json(file: Path) -> dict[str, Any]:
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):  # a job that was killed writes none, or half of one
        return {}
    return record if isinstance(record, dict) else {}
