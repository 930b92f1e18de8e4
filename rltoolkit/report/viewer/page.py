"""viewer.html: a run's curves and responses in one file, which needs no network and runs nothing that a model wrote.

The data lie in it as base64 of gzip of JSON, in which no markup can hide; the page puts text in through ``textContent`` alone, and
its Content-Security-Policy names the one script and the one style that may run by their hashes, and lets nothing be fetched.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import html
import json
from dataclasses import asdict
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rltoolkit.report.runs import Run, column, find_runs, last, read_run
from rltoolkit.report.viewer.records import FATES, Response, read_rollouts, rollout_files

LARGEST = 9_500_000
"""Bytes of data in a page; above that every second rollout step is left out, until the others fit."""


class Curve(NamedTuple):
    """A column of one of the run's files over optimizer steps."""

    title: str
    column: str
    percent: bool = False
    held_out: bool = False


CURVES = (
    Curve("held-out accuracy", "avg_at_k", percent=True, held_out=True),
    Curve("sampled accuracy", "sampled_accuracy", percent=True),
    Curve("reward", "sampled_reward"),
    Curve("response length", "sampled_response_length"),
    Curve("truncated", "sampled_truncated", percent=True),
    Curve("entropy", "entropy"),
    Curve("clipped high", "clipped_high", percent=True),
    Curve("clipped low", "clipped_low", percent=True),
    Curve("groups kept", "acceptance_rate", percent=True),
    Curve("gradient norm", "gradient_norm"),
)


def write_viewer(run_dir: Path) -> Path:
    """Write viewer.html into a run's folder. Returns its path. Raises FileNotFoundError where the run has written no responses."""
    run_dir = Path(run_dir)
    responses = read_rollouts(run_dir)
    run = read_run(run_dir)
    path = run_dir / "viewer.html"
    path.write_text(_page(run, responses), encoding="utf-8")
    return path


def write_viewers(directory: Path) -> list[Path]:
    """The viewer of every run below a sweep's folder that has responses, and viewer.html there with links to them."""
    directory = Path(directory)
    if not any(directory.rglob("rollouts/step_*.jsonl")):  # as in the folder of a published sweep, which holds no runs
        return []
    folders = [folder for run in find_runs(directory) if rollout_files(folder := directory / run.path)]
    return [*map(write_viewer, folders), write_viewer_index(directory)]


def write_viewer_index(directory: Path) -> Path:
    """viewer.html in a sweep's folder, with a link to the viewer of every run that has one. Returns its path."""
    rows = (
        (
            f'<a href="{html.escape(f"{run.path}/viewer.html")}">{html.escape(run.title)}</a>',
            html.escape(run.seed),
            _percent(last(run.evaluations, "avg_at_k")),
            html.escape(run.status),
        )
        for run in find_runs(directory)
        if (directory / run.path / "viewer.html").is_file()
    )
    index = directory / "viewer.html"
    text = _filled(
        _asset("index.html"),
        title=html.escape(directory.resolve().name),
        style=_asset("page.css"),
        style_hash=_hash(_asset("page.css")),
        rows="".join(f"<tr><td>{'</td><td>'.join(row)}</td></tr>" for row in rows),
    )
    index.write_text(text, encoding="utf-8")
    return index


def _page(run: Run, responses: list[Response]) -> str:
    kept, data = responses, _packed(_content(run, responses, responses))
    while len(data) > LARGEST and len(steps := sorted({each.rollout_step for each in kept})) > 1:
        kept = [each for each in kept if each.rollout_step in steps[::2]]
        data = _packed(_content(run, kept, responses))
    style, script = _asset("page.css"), "".join(map(_asset, ("page.js", "response.js", "curves.js")))
    return _filled(
        _asset("page.html"),
        title=html.escape(run.title),
        style=style,
        style_hash=_hash(style),
        script=script,
        script_hash=_hash(script),
        data=data,
    )


def _content(run: Run, responses: list[Response], all_responses: list[Response]) -> dict[str, Any]:
    left_out = len(all_responses) - len(responses)
    score = last(run.evaluations, "avg_at_k")
    facts = [
        run.status,
        *([f"seed {run.seed}"] if run.seed else []),
        *([f"held-out accuracy {_percent(score)}"] if np.isfinite(score) else []),
        *([f"{left_out:,} responses of other rollout steps are left out: see rollouts/"] if left_out else []),
    ]
    steps = zip(column(run.steps, "rollout_step"), column(run.steps, "optimizer_step"), strict=True)
    curves = [
        {"title": curve.title, "percent": curve.percent, "points": points} for curve in CURVES if (points := _points(run, curve))
    ]
    return {
        "facts": facts,
        "fates": FATES,
        "curves": curves,
        "optimizer_steps": {
            int(rollout_step): int(last_one) for rollout_step, last_one in steps if np.isfinite(rollout_step + last_one)
        },
        "responses": [asdict(response) for response in responses],
    }


def _points(run: Run, curve: Curve) -> list[tuple[int, float]]:
    rows = run.evaluations if curve.held_out else run.steps
    x, y = column(rows, "optimizer_step"), column(rows, curve.column)
    there = np.isfinite(x) & np.isfinite(y)
    return [(int(step), float(f"{value:.5g}")) for step, value in zip(x[there], y[there], strict=True)]


def _packed(content: Any) -> str:
    return base64.b64encode(gzip.compress(json.dumps(content, separators=(",", ":")).encode("ascii"), 6, mtime=0)).decode("ascii")


def _percent(share: float) -> str:
    return f"{share:.1%}" if np.isfinite(share) else "–"


def _asset(name: str) -> str:
    return (resources.files(__package__) / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """As a Content-Security-Policy names an inline script or style."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")


def _filled(template: str, **values: str) -> str:
    """Each ``{{name}}`` of the template by its value, in which nothing is replaced again."""
    first, *parts = template.split("{{")
    filled = first
    for part in parts:
        name, _, rest = part.partition("}}")
        filled += values[name] + rest
    return filled
