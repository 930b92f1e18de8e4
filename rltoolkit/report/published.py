"""A sweep in two files, small enough to keep under version control; tables and figures are made from them and nothing else.

    results.csv   one line for each run and evaluation, with every column of evaluations.csv
    curves.csv    one line for each run and rollout step, with the columns that figures and comparisons are made of

Both name the run, results.csv also its row, what else tells it apart, its seed and how it ended. Numbers have six digits.
"""

from __future__ import annotations

import csv
import itertools
from pathlib import Path

from rltoolkit.report._labels import Label
from rltoolkit.report.runs import COUNTERS, Run, Table, by_task, read_csv

RESULTS, CURVES = "results.csv", "curves.csv"
IDENTITY = ("row", "difference", "seed", "run", "status")
DRAWN = (
    *COUNTERS,
    *("sampled_accuracy", "sampled_pass_at_k", "sampled_reward", "sampled_response_length", "sampled_truncated"),
    *("sampled_all_correct", "sampled_all_wrong", "acceptance_rate", "kept_all_correct", "kept_all_wrong"),
    *("generated_groups", "kept_groups", "generated_responses", "trained_responses", "generated_tokens", "trained_tokens"),
    *("prompts_asked", "kept_policy_age", "mismatch"),
    *("sampled_response_length_right", "sampled_response_length_wrong"),
    *("sampled_reflection", "sampled_reflection_right", "sampled_reflection_wrong"),
    *("entropy", "kl_reference", "kept_teacher_kl", "probability", "clipped_low", "clipped_high", "clipped_high_probability"),
    *("gradient_norm", "gradient_noise"),
)
"""Columns of curves.csv, where a run has them; ``sampled_style_*`` come on top."""


def publish(runs: list[Run], folder: Path) -> None:
    """Write the two files. A run without an evaluation has one line of blanks in results.csv."""
    results, curves = [], []
    for run in runs:
        identity = dict(zip(IDENTITY, (*run.shared, run.seed, run.path, run.status), strict=True))
        results += [identity | row for row in itertools.chain.from_iterable(run.held_out.values())] or [identity]
        curves += [{"run": run.path, **{name: step[name] for name in step if _is_drawn(name)}} for step in run.steps]
    _write(folder / RESULTS, results, IDENTITY)
    _write(folder / CURVES, curves, ("run", *DRAWN))


def read_published(folder: Path) -> list[Run]:
    """The runs that ``publish`` wrote, in their order."""
    evaluations, steps = _by_run(read_csv(folder / RESULTS)), _by_run(read_csv(folder / CURVES))
    return [
        Run(
            path=path,
            shared=Label(rows[0]["row"], rows[0]["difference"]),
            seed=rows[0]["seed"],
            status=rows[0]["status"],
            steps=steps.get(path, []),
            held_out=by_task([row for row in rows if row.get("optimizer_step")]),
        )
        for path, rows in evaluations.items()
    ]


def _is_drawn(name: str) -> bool:
    return name in DRAWN or name.startswith("sampled_style_")


def _by_run(rows: Table) -> dict[str, Table]:
    found: dict[str, Table] = {}
    for row in rows:
        found.setdefault(row["run"], []).append(row)
    return found


def _write(path: Path, rows: Table, first: tuple[str, ...]) -> None:
    """Known columns first, then the others as they come; a column that is blank in every row is left out."""
    names = [name for name in dict.fromkeys([*first, *(name for row in rows for name in row)]) if name]
    names = [name for name in names if name in IDENTITY or any(row.get(name) for row in rows)]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(names)
        writer.writerows([_short(row.get(name, "")) for name in names] for row in rows)


def _short(text: str) -> str:
    """A number with a fraction in six digits; whole numbers and words as they are."""
    try:
        return text if text.lstrip("-").isdigit() else f"{float(text):.6g}"
    except ValueError:
        return text
