"""Drawing: lines over training with their intervals, and areas of what became of the sampled groups.

A line is the mean over seeds where all of them have a value (straight lines in between). Training curves are noisy and so are
smoothed by a running mean, whose width the figure states; held-out accuracy is not. Lines differ in colour, dash and marker, and
each is named at its end, so that a figure can be read in grey.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from rltoolkit.report.comparison import counted
from rltoolkit.report.runs import Run, column
from rltoolkit.report.statistics import mean_band

if TYPE_CHECKING:
    from matplotlib.axes import Axes

STEPS, TOKENS = "optimizer_step", "generated_tokens_total"
SMOOTHED_SHARE = 0.05  # of a training curve, in one running mean
MOST_BANDS = 3  # lines with intervals in one panel; more hide each other
STYLE: Any = {
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
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "rltoolkit",  # the same figure is the same file
}


class Look(NamedTuple):
    """How a line looks, in every figure."""

    colour: str
    dash: Any
    marker: str


# Okabe and Ito's palette, which readers with any colour vision can tell apart: grey for the baseline, vermilion for DAPO.
LOOKS = (
    Look("#7F7F7F", (0, (4, 2)), "o"),
    Look("#56B4E9", (0, (1, 1)), "s"),
    Look("#009E73", (0, (6, 1.5, 1, 1.5)), "^"),
    Look("#CC79A7", (0, (2, 1)), "v"),
    Look("#E69F00", (0, (5, 1)), "D"),
    Look("#D55E00", "-", "P"),
    Look("#0072B2", (0, (3, 1, 1, 1, 1, 1)), "X"),
    Look("#000000", (0, (1, 2)), "*"),
    Look("#7A5195", (0, (8, 2)), "<"),
    Look("#5C8001", (0, (3, 3)), ">"),
)


class Line(NamedTuple):
    """One configuration in a figure, or one of several columns of the same runs."""

    runs: list[Run]
    look: Look
    label: str
    """at the line's end"""
    column: str = ""
    """what it shows, where not the panel's"""


@dataclass(frozen=True, kw_only=True)
class Panel:
    """A column of a run's files against its optimizer steps or generated tokens."""

    title: str
    y: str
    label: str
    x: str = STEPS
    held_out: bool = False
    task: str = ""
    """which held-out task; empty: the first one"""
    percent: bool = False


def has(line: Line, panel: Panel) -> bool:
    """Whether there is anything to draw."""
    return any(len(_series(run, panel, line.column)[0]) for run in line.runs)


def draw(ax: Axes, panel: Panel, lines: list[Line], k: str = "k") -> set[str]:
    """One panel, a line for each configuration that has the column; returns what a reader has to be told of it."""
    lines = [line for line in lines if has(line, panel)]
    notes: set[str] = set()
    ends: list[tuple[float, Line]] = []
    for line in lines:
        series = [_series(run, panel, line.column) for run in counted(line.runs) or line.runs]
        series = [each for each in series if len(each[0])]
        window = 1 if panel.held_out else _window(min((len(x) for x, _ in series), default=0))
        x, values = _on_one_grid([(x, running_mean(y, window)) for x, y in series])
        if not len(x):
            continue
        mean, low, high = mean_band(values)
        if panel.held_out and len(line.runs) == len(lines) == 1:
            low, high = (_series(line.runs[0], panel, f"{panel.y}_{end}")[1] for end in ("low", "high"))
            notes.add("band: 95 % interval over problems")
        elif len(values) > 1 and len(lines) <= MOST_BANDS:
            notes.add("band: 95 % interval over seeds")
        if window > 1:
            notes.add(f"training curves: running mean over {window} rollout steps")
        markers = len(x) <= 40 and (panel.held_out or len(lines) > 1)
        ax.plot(
            x, mean, color=line.look.colour, linestyle=line.look.dash, linewidth=1.6, marker=line.look.marker if markers else "",
            markersize=3.2, markevery=max(1, len(x) // 8),
        )  # fmt: skip
        if len(low) == len(x) and len(lines) <= MOST_BANDS and np.isfinite(low).all():
            ax.fill_between(x, low, high, color=line.look.colour, alpha=0.15, linewidth=0)
        ends.append((float(mean[-1]), line))
    _finish(ax, panel, k)
    if len(lines) > 1 and panel.x == STEPS:  # by tokens lines end anywhere
        _name_ends(ax, ends)
    return notes


def draw_groups(ax: Axes, runs: list[Run], title: str) -> None:
    """What the sampled groups of a rollout step are, in percent of them, and how many of them pass the filters."""
    shares = [_series(run, Panel(title="", y=name, label="", percent=True)) for name in GROUPS for run in counted(runs) or runs]
    x, values = _on_one_grid(shares)
    if len(x) < 2:  # a point has no area
        return
    right, wrong, trained = values.reshape(len(GROUPS), -1, len(x)).mean(1)
    mixed, colours = 100 - right - wrong, ("#9CCBE8", "#F5F5F5", "#F0B48A")
    areas = ax.stackplot(x, right, mixed, wrong, colors=colours, edgecolor="#444444", linewidth=0.6)
    for area, hatch in zip(areas, ("", "", "///"), strict=True):
        area.set_hatch(hatch)
    ax.plot(x, trained, color="#000000", linewidth=1.4, linestyle=(0, (4, 2)))
    places = ((right / 2, "all right"), (right + mixed / 2, "mixed"), (100 - wrong / 2, "all wrong"))
    for height, name in places:
        ax.annotate(name, (1.02, height[-1]), xycoords=("axes fraction", "data"), va="center", fontsize=7.5, color="#444444")
    at = len(x) // 2
    ax.annotate("passed the filters", (x[at], trained[at]), xytext=(0, -10), textcoords="offset points", ha="center", fontsize=7.5,
                bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1})  # fmt: skip
    ax.set(xlim=(x[0], x[-1]), ylim=(0, 100), xlabel="optimizer steps", ylabel="sampled groups (%)")
    ax.set_title(title, loc="left")
    ax.grid(False)


GROUPS = ("sampled_all_correct", "sampled_all_wrong", "acceptance_rate")


def running_mean(values: np.ndarray, window: int) -> np.ndarray:
    """Centred; near the ends over what there is."""
    ones = np.ones(window)
    return np.convolve(values, ones, "same") / np.convolve(np.ones_like(values), ones, "same")


def _window(points: int) -> int:
    """An odd number of steps, so that the mean stays centred; 1 for short runs."""
    return int(points * SMOOTHED_SHARE) // 2 * 2 + 1


def _series(run: Run, panel: Panel, name: str = "") -> tuple[np.ndarray, np.ndarray]:
    """The points of a run that have both coordinates, in the order of x; the panel's column, or another one."""
    rows = run.steps if not panel.held_out else run.held_out.get(panel.task, []) if panel.task else run.evaluations
    x, y = column(rows, panel.x), column(rows, name or panel.y)
    there = np.isfinite(x) & np.isfinite(y)
    order = np.argsort(x[there], kind="stable")
    return x[there][order], y[there][order] * (100 if panel.percent else 1)


def _on_one_grid(series: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """x [X] where every run has values, and the runs' values [S, X] there; between two of its points a run is a straight line."""
    if not series:
        return np.empty(0), np.empty((0, 0))
    start, stop = max(x[0] for x, _ in series), min(x[-1] for x, _ in series)
    grid = np.unique(np.concatenate([x for x, _ in series]))
    grid = grid[(grid >= start) & (grid <= stop)]
    return grid, np.stack([np.interp(grid, x, y) for x, y in series])


def _finish(ax: Axes, panel: Panel, k: str) -> None:
    from matplotlib.ticker import EngFormatter

    ax.set_title(panel.title, loc="left")
    ax.set_xlabel("generated tokens" if panel.x == TOKENS else "optimizer steps")
    ax.set_ylabel(panel.label.format(k=k))
    if ax.dataLim.ymin >= 0:
        ax.set_ylim(bottom=max(0, ax.get_ylim()[0]))
    if panel.x == TOKENS:
        ax.xaxis.set_major_formatter(EngFormatter(sep=""))


def _name_ends(ax: Axes, ends: list[tuple[float, Line]]) -> None:
    """Each line's name beside its right end, as near as names do not touch: least squares under a smallest distance."""
    from scipy.optimize import isotonic_regression

    ends = sorted(ends, key=lambda end: end[0])
    low, high = ax.get_ylim()
    text_lines = max(line.label.count("\n") + 1 for _, line in ends)
    steps = np.arange(len(ends)) * (0.01 + 0.075 * text_lines) * (high - low)
    heights = isotonic_regression([value for value, _ in ends] - steps).x + steps
    for height, (_, line) in zip(heights, ends, strict=True):
        ax.annotate(line.label, (1.02, height), xycoords=("axes fraction", "data"), va="center", fontsize=7.5,
                    color=line.look.colour, annotation_clip=False)  # fmt: skip
