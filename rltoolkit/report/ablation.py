"""The ablation's table: one row for each configuration, our avg@k beside the paper's.

    mean over seeds +- standard error,   standard error = std / sqrt(seeds), Bessel-corrected

Runs that differ in nothing but their seed share a row; the label of a row names what it differs in from rows of the same name.
With one seed the evaluation's own 95 % interval over problems stands in its place. Means are over finished runs; where none
has finished yet, over those that are going. A failed run's numbers are in results.csv only.

Source of the paper's numbers: DAPO, arXiv:2503.14476, section 4.2, Table 1 (AIME 2024 avg@32, Qwen2.5-32B).
"""

from __future__ import annotations

import csv
import math
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rltoolkit.report.runs import TABLE_1, Run, find_runs, last

PAPER = dict(zip(TABLE_1, (30, 36, 38, 41, 42, 50), strict=True))
"""AIME 2024 avg@32 in percent."""

IDENTITY = ("ablation", "seed", "run", "status", "label")
PROGRESS = ("optimizer_step", "rollout_step", "generated_tokens", "seconds")
COSTS = ("generated_tokens", "seconds")
WIDE = 110
"""Columns of a terminal that shows the whole table."""


class Row(NamedTuple):
    """One line of the table, in print."""

    ablation: str
    ours: str
    paper: str
    truncated: str
    response_length: str
    generated_tokens: str
    seconds: str
    status: str


def write_report(sweep_dir: Path) -> Path:
    """Write results.csv, table.md and figures/ into a sweep's folder, print the table, and return the path of table.md.

    The sweep of a laboratory has a report of its own kind (``lab_report``).

    Raises:
        FileNotFoundError: there is no run below the folder.
    """
    from rltoolkit.report.figures import write_sweep_figures
    from rltoolkit.report.lab_report import laboratory_of, write_lab_report

    sweep_dir = Path(sweep_dir)
    runs = find_runs(sweep_dir)
    if (lab := laboratory_of(runs)) is not None:
        return write_lab_report(lab, runs, sweep_dir)
    _write_results(runs, sweep_dir / "results.csv", sweep_dir)
    rows, header, notes = table(runs), _header(runs), protocol(runs)
    path = sweep_dir / "table.md"
    lines = ["| " + " | ".join(cells) + " |" for cells in (header, ["---"] + ["---:"] * 6 + ["---"], *rows)]
    path.write_text("\n".join([*lines, "", *(f"- {note}" for note in notes), ""]), encoding="utf-8")
    _print(header, rows, notes)
    write_sweep_figures(runs, sweep_dir / "figures")
    return path


def table(runs: list[Run]) -> list[Row]:
    """Table 1 in its order where the runs are of that ablation (rows without a run included), then every other label."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(run.label, []).append(run)
    names = list(dict.fromkeys(run.shared.name for run in runs))
    if any(name in TABLE_1 for name in names):
        names = [*TABLE_1, *(name for name in names if name not in TABLE_1)]
    rows = []
    for name in names:
        mine = [group for group in groups.values() if group[0].shared.name == name]
        rows += [_row(name, group) for group in mine or [[]]]
    return rows


def protocol(runs: list[Run]) -> list[str]:
    """What the numbers mean: what was asked, and whether all runs were asked the same."""
    notes = [
        "ours: mean over seeds ± standard error, or [95 % interval over problems] where there is one seed",
        "paper: AIME 2024 avg@32, Qwen2.5-32B (arXiv:2503.14476, Table 1)",
    ]
    for name in ("k", "problems"):
        values = [last(run.evaluations, name) for run in runs]
        notes += _same(name, [str(int(value)) for value in values if math.isfinite(value)])
    for name in ("verifier", "sampling"):
        notes += _same(name, [str(run.record[name]) for run in runs if run.record.get(name)])
    return notes


def _same(name: str, values: list[str]) -> list[str]:
    different = list(dict.fromkeys(values))
    if len(different) > 1:
        return [f"{name} differs between runs, so their numbers do not compare: {' / '.join(different)}"]
    return [f"{name}: {value}" for value in different]


def _row(name: str, runs: list[Run]) -> Row:
    alive = [run for run in runs if run.status == "finished"] or [run for run in runs if run.status == "unfinished"]

    def mean(name: str, unit: str) -> str:
        values = [last(run.evaluations, name) for run in alive]
        values = [value for value in values if math.isfinite(value)]
        return format(float(np.mean(values)), unit) if values else "-"

    return Row(
        ablation=runs[0].title if runs else TABLE_1[name],
        ours=_score(alive),
        paper=str(PAPER.get(name, "-")),
        truncated=mean("truncated", ".1%"),
        response_length=mean("response_length", ",.0f"),
        generated_tokens=mean("generated_tokens", ",.0f"),
        seconds=mean("seconds", ",.0f"),
        status=_status(runs),
    )


def _score(runs: list[Run]) -> str:
    """In percent: ``47.9 +- 1.2`` over seeds, ``47.9 [45.0, 50.8]`` of one run."""
    scores = np.array([last(run.evaluations, "avg_at_k") for run in runs]) * 100
    scores = scores[np.isfinite(scores)]
    if not len(scores):
        return "-"
    if len(scores) > 1:
        return f"{scores.mean():.1f} ± {scores.std(ddof=1) / math.sqrt(len(scores)):.1f}"
    run = next(run for run in runs if math.isfinite(last(run.evaluations, "avg_at_k")))
    low, high = (last(run.evaluations, f"avg_at_k_{end}") * 100 for end in ("low", "high"))
    return f"{scores[0]:.1f} [{low:.1f}, {high:.1f}]" if math.isfinite(low + high) else f"{scores[0]:.1f}"


def _status(runs: list[Run]) -> str:
    """``finished``, ``2 finished, 1 failed``, ``unfinished at step 40``, ``no run``."""
    count = Counter(run.status for run in runs)
    if len(runs) == 1 and count["unfinished"]:
        step = last(runs[0].metrics, "optimizer_step")
        return f"unfinished at step {step:.0f}" if math.isfinite(step) else "unfinished"
    if len(runs) <= 1:
        return runs[0].status if runs else "no run"
    return ", ".join(f"{count[status]} {status}" for status in ("finished", "failed", "unfinished") if count[status])


def _header(runs: list[Run]) -> Row:
    ks = {int(k) for k in (last(run.evaluations, "k") for run in runs) if math.isfinite(k)}
    k = ks.pop() if len(ks) == 1 else "k"
    return Row(
        "ablation",
        f"ours, avg@{k} (%)",
        "paper (%)",
        "truncated",
        "response length (tokens)",
        "generated tokens",
        "seconds",
        "status",
    )


def _write_results(runs: list[Run], path: Path, root: Path) -> None:
    """One line for each run and evaluation; a run without an evaluation has one line of blanks."""
    lines = []
    for run in runs:
        identity = {
            "ablation": run.record.get("ablation") or "",
            "seed": run.record.get("seed", ""),
            "run": run.folder.relative_to(root).as_posix(),
            "status": run.status,
            "label": run.label,
        }
        lines += [identity | {name: text for name, text in row.items() if name} for row in run.evaluations or [{}]]
    names = dict.fromkeys([*IDENTITY, *PROGRESS, *(name for line in lines for name in line)])
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(names), restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)


def _print(header: Row, rows: list[Row], notes: list[str]) -> None:
    """The table, as wide as the terminal allows: a narrow one leaves the columns out that say what the runs cost."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    left_out = () if console.width >= WIDE else COSTS
    if left_out:
        names = " and ".join(name.replace("_", " ") for name in left_out)
        notes = [*notes, f"{names}: in table.md, and here in a terminal of {WIDE} columns"]
    printed = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True, show_edge=False)
    shown = [field for field in Row._fields if field not in left_out]
    for field in shown:
        words = field in ("ablation", "status")  # numbers are never broken, and stand under each other
        printed.add_column(
            getattr(header, field).replace(" ", " " if words else "\n"),
            justify="left" if words else "right",
            no_wrap=not words,
            overflow="fold",
        )
    for row in rows:
        cells = (getattr(row, field) for field in shown)
        printed.add_row(*map(Text, cells), style="red" if "failed" in row.status else None)
    console.print(printed)
    for note in notes:
        console.print(f"- {note}", markup=False, highlight=False)
