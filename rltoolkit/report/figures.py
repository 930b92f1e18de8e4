"""Figures: how training went, one line for each configuration.

A line is the mean over seeds where all of them have a value (steps in between are interpolated); the single runs are drawn
lightly behind it. Training curves are noisy and so are smoothed by a running mean, whose width the figure states; held-out
accuracy is not. Bands: the standard error over seeds, or the evaluation's own 95 % interval where a figure shows one run alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from rltoolkit.report.runs import TABLE_1, Run, column, read_run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's palette, which readers with any colour vision can tell apart: grey for the baseline, vermilion for DAPO.
COLOURS = ("#8C8C8C", "#56B4E9", "#009E73", "#CC79A7", "#E69F00", "#D55E00", "#0072B2", "#000000", "#7A5195", "#5C8001")
SMOOTHED_SHARE = 0.05  # of a training curve, in one running mean


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One figure: a column of one of the run's files against another."""

    name: str
    title: str
    y: str
    label: str
    x: str = "optimizer_step"
    held_out: bool = False
    percent: bool = False


STEPS, TOKENS = "optimizer steps", "generated tokens"
PANELS = (
    Panel(name="accuracy", title="Held-out accuracy", y="avg_at_k", label="avg@{k} (%)", held_out=True, percent=True),
    Panel(name="rollout_accuracy", title="Rollout accuracy", y="accuracy", label="right responses (%)", percent=True),
    Panel(name="entropy", title="Entropy", y="entropy", label="entropy (nats per token)"),
    Panel(name="response_length", title="Response length", y="response_length", label="mean length (tokens)"),
    Panel(name="truncated", title="Truncated responses", y="truncated", label="truncated (%)", percent=True),
    Panel(
        name="accuracy_by_tokens",
        title="Accuracy by cost",
        x="generated_tokens",
        y="avg_at_k",
        label="avg@{k} (%)",
        held_out=True,
        percent=True,
    ),
)


def write_sweep_figures(runs: list[Run], folder: Path) -> list[Path]:
    """overview.png and one PNG for each panel that has data; runs of one label share a line. Returns the paths."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(run.label, []).append(run)
    return _write(groups, folder)


def write_run_figures(run_dir: Path) -> list[Path]:
    """The figures of one run, into its folder ``figures``. Returns the paths.

    Raises:
        FileNotFoundError: the run has neither training steps nor evaluations.
    """
    run = read_run(Path(run_dir))
    if not run.metrics and not run.evaluations:
        raise FileNotFoundError(f"nothing to draw in {run_dir}: metrics.csv and evaluations.csv are missing or empty")
    return _write({run.label: [run]}, run.folder / "figures")


def _write(groups: dict[str, list[Run]], folder: Path) -> list[Path]:
    from matplotlib import rc_context

    panels = [panel for panel in PANELS if any(_has(run, panel) for runs in groups.values() for run in runs)]
    if not panels:
        return []
    folder.mkdir(parents=True, exist_ok=True)
    with rc_context(_STYLE):
        figures = {"overview": _overview(groups, panels)} | {panel.name: _single(groups, panel) for panel in panels}
    for name, figure in figures.items():
        figure.savefig(folder / f"{name}.png", dpi=200)
    return [folder / f"{name}.png" for name in figures]


_STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 8.5,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#444444",
    "axes.linewidth": 0.8,
    "axes.grid": True,
    "grid.color": "#E6E6E6",
    "grid.linewidth": 0.7,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.w_pad": 0.1,
    "figure.constrained_layout.h_pad": 0.08,
}


def _overview(groups: dict[str, list[Run]], panels: list[Panel]) -> Figure:
    from matplotlib.figure import Figure

    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(3.5 * columns, 2.75 * rows + (0.45 if len(groups) > 1 else 0)))
    axes = figure.subplots(rows, columns, squeeze=False).flat
    for panel, ax in zip(panels, axes, strict=False):
        _draw(ax, panel, groups)
    for ax in list(axes)[len(panels) :]:
        ax.set_axis_off()
    if len(groups) > 1:
        handles, labels = _legend(groups)
        figure.legend(handles, labels, loc="outside lower center", ncols=3)
    return figure


def _single(groups: dict[str, list[Run]], panel: Panel) -> Figure:
    from matplotlib.figure import Figure

    several = len(groups) > 1
    figure = Figure(figsize=(6.4 if several else 4.4, 3.1))
    _draw(figure.subplots(), panel, groups)
    if several:
        handles, labels = _legend(groups)
        figure.legend(handles, labels, loc="outside right center")
    return figure


def _draw(ax: Axes, panel: Panel, groups: dict[str, list[Run]]) -> None:
    """One panel: a line for each group."""
    from matplotlib.ticker import EngFormatter

    notes: dict[str, None] = {}
    for runs, colour in zip(groups.values(), _colours(groups), strict=True):
        series = [_series(run, panel) for run in runs if _has(run, panel)]
        if not series:
            continue
        for x, y in series:
            ax.plot(x, y, color=colour, alpha=0.4 if panel.held_out else 0.2, linewidth=0.6)
        counted = [_series(run, panel) for run in _counted(runs) if _has(run, panel)] or series
        window = 1 if panel.held_out else _window(min(len(x) for x, _ in counted))
        if window > 1:
            notes[f"running mean, {window} steps"] = None
        x, mean, error = _mean([(x, _running_mean(y, window)) for x, y in counted])
        ax.plot(x, mean, color=colour, linewidth=1.6, marker="o" if panel.held_out else "", markersize=2.5, linestyle=_dash(runs))
        low = high = mean
        if panel.held_out and len(counted) > 1:
            low, high = mean - error, mean + error
            notes["± standard error"] = None
        elif panel.held_out and len(runs) == len(groups) == 1:
            low, high = (_series(runs[0], panel, end)[1] for end in ("_low", "_high"))
            notes["95 % interval"] = None
        if len(low) == len(high) == len(x):  # an older file may lack the interval
            ax.fill_between(x, low, high, color=colour, alpha=0.18, linewidth=0)
    ax.set_title(panel.title, loc="left")
    ax.set_title(", ".join(notes), loc="right", fontsize=7, fontweight="normal", color="#777777")
    ax.set_xlabel(TOKENS if panel.x == "generated_tokens" else STEPS)
    ax.set_ylabel(panel.label.format(k=_k(groups)))
    ax.set_ylim(bottom=max(0, ax.get_ylim()[0]))
    if panel.x == "generated_tokens":
        ax.xaxis.set_major_formatter(EngFormatter(sep=""))


def _series(run: Run, panel: Panel, end: str = "") -> tuple[np.ndarray, np.ndarray]:
    """The points of a run that have both coordinates, in the order of x."""
    rows = run.evaluations if panel.held_out else run.metrics
    x, y = column(rows, panel.x), column(rows, panel.y + end)
    there = np.isfinite(x) & np.isfinite(y)
    order = np.argsort(x[there], kind="stable")
    return x[there][order], y[there][order] * (100 if panel.percent else 1)


def _has(run: Run, panel: Panel) -> bool:
    return len(_series(run, panel)[0]) > 0


def _mean(series: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x, mean and standard error over runs, where every run has values; between two of its points a run is a straight line."""
    start, stop = max(x[0] for x, _ in series), min(x[-1] for x, _ in series)
    grid = np.unique(np.concatenate([x for x, _ in series]))
    grid = grid[(grid >= start) & (grid <= stop)]
    values = np.stack([np.interp(grid, x, y) for x, y in series])
    error = values.std(0, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.zeros_like(grid)
    return grid, values.mean(0), error


def _running_mean(values: np.ndarray, window: int) -> np.ndarray:
    """Centred; near the ends over what there is."""
    ones = np.ones(window)
    return np.convolve(values, ones, "same") / np.convolve(np.ones_like(values), ones, "same")


def _window(points: int) -> int:
    """An odd number of steps, so that the mean stays centred; 1 for short runs."""
    return int(points * SMOOTHED_SHARE) // 2 * 2 + 1


def _counted(runs: list[Run]) -> list[Run]:
    return [run for run in runs if run.status != "failed"]


def _dash(runs: list[Run]) -> Literal["-", ":"]:
    return "-" if _counted(runs) else ":"


def _colours(groups: dict[str, list[Run]]) -> list[str]:
    """A row of Table 1 has its colour whether or not the others are there; other labels take the next ones."""
    fixed = dict(zip(TABLE_1, COLOURS, strict=False))
    free = [colour for colour in COLOURS if not set(groups) & set(fixed) or colour not in fixed.values()]
    others = [label for label in groups if label not in fixed]
    return [fixed.get(label) or free[others.index(label) % len(free)] for label in groups]


def _legend(groups: dict[str, list[Run]]) -> tuple[list[Any], list[str]]:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=colour, linewidth=2, linestyle=_dash(runs))
        for runs, colour in zip(groups.values(), _colours(groups), strict=True)
    ]
    return handles, [runs[0].title + ("" if _counted(runs) else " (failed)") for runs in groups.values()]


def _k(groups: dict[str, list[Run]]) -> str:
    ks = {row.get("k") for runs in groups.values() for run in runs for row in run.evaluations} - {None, ""}
    return str(ks.pop()) if len(ks) == 1 else "k"
