"""A laboratory's report: its own table and one figure, from the runs of its sweep.

    measures.csv    one line for each run
    table.md        each measure by arm: mean over seeds with its 95 % interval, paired difference to the first arm, p
    figures/        lab.png and lab.svg

p is that of a paired t-test over the seeds that both arms have, corrected by Holm for all comparisons of the laboratory.
"""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from rltoolkit.report.labs import LABORATORIES, Curve, Laboratory, Measure, Panel
from rltoolkit.report.runs import Run
from rltoolkit.report.statistics import holm, mean_interval, paired_difference

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Arms = dict[str, list[Run]]
"""The finished runs of each arm, by its title"""

LINES = (("#8C8C8C", "--"), ("#D55E00", "-"), ("#0072B2", "-."), ("#009E73", ":"))
"""Colour (Okabe and Ito's) and dash of each arm: either tells them apart."""


class Cell(NamedTuple):
    """One line of the table, in print."""

    measure: str
    arm: str
    mean: str
    difference: str
    p: str


def laboratory_of(runs: list[Run]) -> Laboratory | None:
    """The laboratory whose runs these are; None where they are of another experiment, or of several."""
    names = {str(run.record.get("experiment")) for run in runs}
    return LABORATORIES.get(names.pop()) if len(names) == 1 else None


def write_lab_report(lab: Laboratory, runs: list[Run], folder: Path) -> Path:
    """Write measures.csv, table.md and figures/ into the folder, print the table, and return the path of table.md."""
    arms = arms_of(lab, runs)
    _write_measures(lab, arms, folder / "measures.csv")
    rows, notes = table(lab, arms), _notes(arms, runs)
    path = folder / "table.md"
    header = ("measure", "arm", "mean [95 %]", "difference [95 %]", "p")
    lines = ["| " + " | ".join(cells) + " |" for cells in (header, ["---", "---", "---:", "---:", "---:"], *rows)]
    path.write_text("\n".join([f"{lab.title}", "", *lines, "", *(f"- {note}" for note in notes), ""]), encoding="utf-8")
    _print(lab.title, header, rows, notes)
    if arms:
        write_figure(lab, arms, folder / "figures")
    return path


def arms_of(lab: Laboratory, runs: list[Run]) -> Arms:
    """The finished runs of each arm, in the laboratory's order; what it does not know comes last, under its own label."""
    found: Arms = {}
    for difference, title in lab.arms.items():
        found[title] = [run for run in runs if run.shared.difference == difference]
    for run in runs:
        if run.shared.difference not in lab.arms:
            found.setdefault(run.shared.difference or "one arm", []).append(run)
    finished = {title: [run for run in members if run.status == "finished"] for title, members in found.items()}
    return {title: members for title, members in finished.items() if members}


def table(lab: Laboratory, arms: Arms) -> list[Cell]:
    """A block of lines for each measure, one line for each arm."""
    values = {
        (measure.title, arm): {_seed(run): measure.of(run) for run in runs} for measure in lab.measures for arm, runs in arms.items()
    }
    first = next(iter(arms), "")
    compared = [(measure.title, arm) for measure in lab.measures for arm in arms if arm != first]
    differences = {key: paired_difference(*_pairs(values[key], values[key[0], first])) for key in compared}
    corrected = dict(zip(compared, holm([differences[key].p for key in compared]), strict=True))
    rows = []
    for measure in lab.measures:
        for arm in arms:
            key = (measure.title, arm)
            sample = [value for value in values[key].values() if math.isfinite(value)]
            rows.append(
                Cell(
                    measure=measure.title if arm == first else "",
                    arm=arm,
                    mean=_interval(*mean_interval(sample), measure.unit),
                    difference=_interval(*differences[key][:3], _signed(measure.unit)) if key in differences else "",
                    p=_p(corrected[key]) if key in corrected else "",
                )
            )
    return rows


def _pairs(ours: dict[int, float], theirs: dict[int, float]) -> tuple[list[float], list[float]]:
    """The values of the seeds that both have."""
    both = [seed for seed in ours if seed in theirs and math.isfinite(ours[seed] + theirs[seed])]
    return [ours[seed] for seed in both], [theirs[seed] for seed in both]


def _seed(run: Run) -> int:
    return int(run.record.get("seed") or 0)


def _signed(unit: str) -> str:
    return "+" + unit


def _interval(mean: float, low: float, high: float, unit: str) -> str:
    if not math.isfinite(mean):
        return "-"
    text = format(mean, unit).replace("%", " %")
    if not math.isfinite(low + high):
        return text
    low_text, high_text = (format(value, unit).removesuffix("%") for value in (low, high))
    return f"{text} [{low_text}, {high_text}]"


def _p(value: float) -> str:
    if not math.isfinite(value):
        return "-"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _notes(arms: Arms, runs: list[Run]) -> list[str]:
    left_out = sum(run.status != "finished" for run in runs)
    seeds = sorted({_seed(run) for members in arms.values() for run in members})
    return [
        f"seeds: {', '.join(map(str, seeds)) or 'none finished'}",
        *([f"left out: {left_out} runs that did not finish"] if left_out else []),
        "difference to the first arm, seed by seed; p of a paired t-test, corrected by Holm for all comparisons in this table",
        "end: the last quarter of the rollout steps; a number of steps or tokens that a run never reached counts as all of the run's",
    ]


def _write_measures(lab: Laboratory, arms: Arms, path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["arm", "seed", *(measure.title for measure in lab.measures)])
        for arm, runs in arms.items():
            for run in sorted(runs, key=_seed):
                writer.writerow([arm, _seed(run), *(f"{measure.of(run):.6g}" for measure in lab.measures)])


def _print(title: str, header: tuple[str, ...], rows: list[Cell], notes: list[str]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    printed = Table(title=Text(title), title_justify="left", box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True, show_edge=False)
    for name in header:
        printed.add_column(name, justify="left" if name in ("measure", "arm") else "right", overflow="fold")
    for row in rows:
        printed.add_row(*map(Text, row))
    console.print(printed)
    for note in notes:
        console.print(f"- {note}", markup=False, highlight=False)


def write_figure(lab: Laboratory, arms: Arms, folder: Path) -> list[Path]:
    """lab.png and lab.svg: the laboratory's curves, and its first measure seed by seed. Returns the paths."""
    from matplotlib import rc_context

    from rltoolkit.report.figures import _STYLE

    folder.mkdir(parents=True, exist_ok=True)
    with rc_context(_STYLE | {"svg.hashsalt": "rltoolkit", "svg.fonttype": "none"}):
        figure = _figure(lab, arms)
        paths = [folder / "lab.png", folder / "lab.svg"]
        figure.savefig(paths[0], dpi=160)
        figure.savefig(paths[1], metadata={"Date": None})
    return paths


def _figure(lab: Laboratory, arms: Arms) -> Figure:
    from matplotlib.figure import Figure

    count = len(lab.panels) + 1
    figure = Figure(figsize=(3.1 * count, 3.3))
    axes = figure.subplots(1, count)
    for panel, ax in zip(lab.panels, axes, strict=False):
        _draw_curves(ax, panel, arms)
    _draw_seeds(axes[-1], lab.measures[0], arms)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    figure.suptitle(lab.title, x=0.01, ha="left", fontweight="bold")
    return figure


def _draw_curves(ax: Axes, panel: Panel, arms: Arms) -> None:
    """Mean over seeds with its standard error; the single runs lightly behind it."""
    factor = 100 if panel.percent else 1
    for (arm, runs), (colour, dash) in zip(arms.items(), _lines(arms), strict=True):
        curves = [(x, y * factor) for x, y in map(_clean, map(panel.of, runs)) if len(x)]
        for x, y in curves:
            ax.plot(x, y, color=colour, alpha=0.25, linewidth=0.6)
        if not curves:
            continue
        x, mean, error = _mean(curves)
        ax.plot(x, mean, color=colour, linestyle=dash, linewidth=1.8, label=arm)
        ax.fill_between(x, mean - error, mean + error, color=colour, alpha=0.18, linewidth=0)
    ax.set_title(panel.title, loc="left")
    ax.set_xlabel(panel.x)
    ax.set_ylabel(panel.y)
    ax.set_ylim(bottom=0)


def _draw_seeds(ax: Axes, measure: Measure, arms: Arms) -> None:
    """A line for each seed from arm to arm, and each arm's mean."""
    factor = 100 if measure.unit.endswith("%") else 1
    values = [{_seed(run): measure.of(run) * factor for run in runs} for runs in arms.values()]
    places = np.arange(len(arms))
    for seed in sorted({seed for each in values for seed in each}):
        ax.plot(places, [each.get(seed, np.nan) for each in values], color="#B0B0B0", linewidth=0.8, marker="o", markersize=2.5)
    for place, each, (colour, _) in zip(places, values, _lines(arms), strict=True):
        ax.plot(place, np.nanmean(list(each.values())), color=colour, marker="D", markersize=7, markeredgecolor="black")
    ax.set_xticks(places, [arm.replace(" ", "\n", 1) for arm in arms], fontsize=7)
    ax.set_xlim(-0.4, len(arms) - 0.6)
    ax.set_ylim(bottom=0)
    ax.set_title("Seed by seed", loc="left")
    ax.set_ylabel(measure.title + (" (%)" if factor == 100 else ""))


def _lines(arms: Arms) -> list[tuple[str, Any]]:
    return [LINES[number % len(LINES)] for number in range(len(arms))]


def _clean(curve: Curve) -> Curve:
    there = np.isfinite(curve[0]) & np.isfinite(curve[1])
    return curve[0][there], curve[1][there]


def _mean(curves: list[Curve]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x, mean and standard error, where every run has values; between two points a run is a straight line."""
    start, stop = max(x[0] for x, _ in curves), min(x[-1] for x, _ in curves)
    grid = np.unique(np.concatenate([x for x, _ in curves]))
    grid = grid[(grid >= start) & (grid <= stop)]
    values = np.stack([np.interp(grid, x, y) for x, y in curves])
    error = values.std(0, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.zeros_like(grid)
    return grid, values.mean(0), error
