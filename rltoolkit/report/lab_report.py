"""A laboratory's report: its own table and one figure, from the runs of its sweep.

    table.md        each measure by arm: mean over seeds with its 95 % interval, paired difference to the arm compared with, p
    figures/        lab.png and lab.svg

p is that of a paired t-test over the seeds that both arms have, corrected by Holm for all comparisons of the laboratory.
"""

from __future__ import annotations

import math
import textwrap
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from rltoolkit.report._plot import LOOKS, STYLE
from rltoolkit.report.labs import LABORATORIES, Curve, Laboratory, Measure, Panel
from rltoolkit.report.rows import ROWS
from rltoolkit.report.runs import Run
from rltoolkit.report.statistics import holm, mean_band, mean_interval, paired_difference

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Arms = dict[str, list[Run]]
"""The finished runs of each arm, by its title"""

ARM_LOOKS = tuple(LOOKS[index] for index in (0, 5, 6, 2, 4, 3, 8, 7))
"""Grey for the first arm, then what is easily told from it, with or without colour."""


COLUMNS = 4
"""Arms whose names fit beside each other."""


class Cell(NamedTuple):
    """One line of the table, in print."""

    measure: str
    arm: str
    mean: str
    difference: str
    p: str


def laboratory_of(runs: list[Run]) -> Laboratory | None:
    """The laboratory whose runs these are: of one experiment, or of rows that are its arms. None where they are of none."""
    names = {run.shared.name for run in runs}
    if len(names) == 1:
        return LABORATORIES.get(names.pop())
    return next(
        (lab for lab in LABORATORIES.values() if names and {f"+ablation={name}" for name in names} <= lab.arms.keys()), None
    )


def write_lab_report(lab: Laboratory, runs: list[Run], folder: Path) -> list[Path]:
    """Write table.md and figures/ into the folder and print the table; returns what it wrote."""
    arms = arms_of(lab, runs)
    rows, notes = table(lab, arms), _notes(lab, arms, runs)
    path = folder / "table.md"
    header = ("measure", "arm", "mean [95 %]", "difference [95 %]", "p")
    lines = ["| " + " | ".join(cells) + " |" for cells in (header, ["---", "---", "---:", "---:", "---:"], *rows)]
    path.write_text("\n".join([f"{lab.title}", "", *lines, "", *(f"- {note}" for note in notes), ""]), encoding="utf-8")
    _print(lab.title, header, rows, notes)
    return [path, *(write_figure(lab, arms, folder / "figures") if arms else [])]


def arms_of(lab: Laboratory, runs: list[Run]) -> Arms:
    """The finished runs of each arm, in the laboratory's order; what it does not know comes last, under its own label."""
    found: Arms = {}
    for overrides, title in lab.arms.items():
        found[title] = [run for run in runs if _overrides(run) == overrides]
    for run in runs:
        if _overrides(run) not in lab.arms:
            found.setdefault(_overrides(run) or "one arm", []).append(run)
    finished = {title: [run for run in members if run.status == "finished"] for title, members in found.items()}
    return {title: members for title, members in finished.items() if members}


def _overrides(run: Run) -> str:
    """What makes a run's arm: its row, where it is one that a report knows, and what tells it apart from others of its name."""
    row = f"+ablation={run.shared.name}" if run.shared.name in ROWS else ""
    return ", ".join(filter(None, (row, run.shared.difference)))


def table(lab: Laboratory, arms: Arms) -> list[Cell]:
    """A block of lines for each measure, one line for each arm."""
    values = {
        (measure.title, arm): {run.seed: measure.of(run) for run in runs}
        for measure in lab.measures
        for arm, runs in arms.items()
    }
    against = {measure.title: measure.against or next(iter(arms), "") for measure in lab.measures}
    compared = [(title, arm) for title, other in against.items() for arm in arms if arm != other and other in arms]
    differences = {key: paired_difference(*_pairs(values[key], values[key[0], against[key[0]]])) for key in compared}
    corrected = dict(zip(compared, holm([differences[key].p for key in compared]), strict=True))
    rows = []
    for measure in lab.measures:
        for arm in arms:
            key = (measure.title, arm)
            sample = [value for value in values[key].values() if math.isfinite(value)]
            rows.append(
                Cell(
                    measure=_heading(measure) if arm == next(iter(arms)) else "",
                    arm=arm,
                    mean=_interval(*mean_interval(sample), measure.unit),
                    difference=_interval(*differences[key][:3], _signed(measure.unit)) if key in differences else "",
                    p=_p(corrected[key]) if key in corrected else "",
                )
            )
    return rows


def _heading(measure: Measure) -> str:
    return f"{measure.title}, against {measure.against}" if measure.against else measure.title


def _pairs(ours: dict[str, float], theirs: dict[str, float]) -> tuple[list[float], list[float]]:
    """The values of the seeds that both have."""
    both = [seed for seed in ours if seed in theirs and math.isfinite(ours[seed] + theirs[seed])]
    return [ours[seed] for seed in both], [theirs[seed] for seed in both]


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


def _notes(lab: Laboratory, arms: Arms, runs: list[Run]) -> list[str]:
    others = ", or to the one that is named" if any(measure.against for measure in lab.measures) else ""
    left_out = sum(run.status != "finished" for run in runs)
    seeds = sorted({run.seed for members in arms.values() for run in members}, key=lambda seed: (len(seed), seed))
    return [
        f"seeds: {', '.join(seeds) or 'none finished'}",
        *([f"left out: {left_out} runs that did not finish"] if left_out else []),
        f"difference to the first arm{others}, seed by seed; p of a paired t-test, corrected by Holm for all comparisons in this table",
        "differences of shares are in points",
        "end: the last quarter of the rollout steps; a number of steps or tokens that a run never reached counts as all of the run's",
    ]


def _print(title: str, header: tuple[str, ...], rows: list[Cell], notes: list[str]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    printed = Table(
        title=Text(title), title_justify="left", box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True, show_edge=False
    )
    for name in header[1:]:  # a measure is a line of its own, so that the intervals have room in 80 columns
        printed.add_column(name, justify="left" if name == "arm" else "right", no_wrap=name != "arm", overflow="fold")
    for measure, *cells in rows:
        if measure:
            printed.add_row(Text(measure, style="bold"))
        printed.add_row(Text(f"  {cells[0]}"), *map(Text, cells[1:]))
    console.print(printed)
    for note in notes:
        console.print(f"- {note}", markup=False, highlight=False)


def write_figure(lab: Laboratory, arms: Arms, folder: Path) -> list[Path]:
    """lab.png and lab.svg: the laboratory's curves, and its first measure seed by seed. Returns the paths."""
    from matplotlib import rc_context

    folder.mkdir(parents=True, exist_ok=True)
    with rc_context(STYLE):
        figure = _figure(lab, arms)
        paths = [folder / "lab.png", folder / "lab.svg"]
        figure.savefig(paths[0], dpi=160)
        figure.savefig(paths[1], metadata={"Date": None})
    return paths


def _figure(lab: Laboratory, arms: Arms) -> Figure:
    from matplotlib.figure import Figure

    count = len(lab.panels) + 1
    figure = Figure(figsize=(3.1 * count, 3.3 if len(arms) <= COLUMNS else 4.0))
    axes = figure.subplots(1, count)
    for panel, ax in zip(lab.panels, axes, strict=False):
        _draw_curves(ax, panel, arms)
    _draw_seeds(axes[-1], lab.measures[0], arms)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), COLUMNS))
    figure.suptitle(lab.title, x=0.01, ha="left", fontweight="bold")
    return figure


def _draw_curves(ax: Axes, panel: Panel, arms: Arms) -> None:
    """Mean over seeds with its 95 % interval, where every run has values."""
    factor = 100 if panel.percent else 1
    for (arm, runs), look in zip(arms.items(), cycle(ARM_LOOKS), strict=False):
        curves = [curve for curve in map(_clean, map(panel.of, runs)) if len(curve[0])]
        if not curves:
            continue
        grid = np.unique(np.concatenate([x for x, _ in curves]))
        grid = grid[(grid >= max(x[0] for x, _ in curves)) & (grid <= min(x[-1] for x, _ in curves))]
        mean, low, high = mean_band(np.stack([np.interp(grid, x, y * factor) for x, y in curves]))
        ax.plot(grid, mean, color=look.colour, linestyle=look.dash, linewidth=1.8, label=arm)
        if len(arms) <= COLUMNS:  # more bands than that hide each other
            ax.fill_between(grid, low, high, color=look.colour, alpha=0.18, linewidth=0)
    ax.set_title(panel.title, loc="left")
    ax.set_xlabel(panel.x)
    ax.set_ylabel(panel.y)
    ax.set_ylim(bottom=0)


def _draw_seeds(ax: Axes, measure: Measure, arms: Arms) -> None:
    """A line for each seed from arm to arm, and each arm's mean."""
    factor = 100 if measure.unit.endswith("%") else 1
    values = [{run.seed: measure.of(run) * factor for run in runs} for runs in arms.values()]
    places = np.arange(len(arms))
    for seed in sorted({seed for each in values for seed in each}):
        ax.plot(places, [each.get(seed, np.nan) for each in values], color="#B0B0B0", linewidth=0.8, marker="o", markersize=2.5)
    for place, each, look in zip(places, values, cycle(ARM_LOOKS), strict=False):
        found = [value for value in each.values() if math.isfinite(value)]
        if found:
            ax.plot(place, np.mean(found), color=look.colour, marker=look.marker, markersize=7, markeredgecolor="black")
    if len(arms) <= COLUMNS:
        ax.set_xticks(places, [arm.replace(" ", "\n", 1) for arm in arms], fontsize=7)
    else:
        ax.set_xticks(places, list(arms), fontsize=7, rotation=40, ha="right", rotation_mode="anchor")
    ax.set_xlim(-0.4, len(arms) - 0.6)
    ax.set_ylim(bottom=0)
    ax.set_title("Seed by seed", loc="left")
    ax.set_ylabel(textwrap.fill(measure.title + (" (%)" if factor == 100 else ""), width=28))


def _clean(curve: Curve) -> Curve:
    there = np.isfinite(curve[0]) & np.isfinite(curve[1])
    return curve[0][there], curve[1][there]
