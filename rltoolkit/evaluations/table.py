"""Models side by side in a terminal: a measure a line, a model a column, as many beside each other as 80 columns hold."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rltoolkit.evaluations.scores import FEWEST_PROBLEMS, Scores
from rltoolkit.report.statistics import Interval, PairedDifference

if TYPE_CHECKING:
    from rich.table import Table

ABREAST = 3


def tables(scores: Mapping[str, Scores], against_first: Sequence[PairedDifference]) -> list[Table]:
    """One table for every three models, by name; ``against_first``: of all but the first."""
    names, cells = list(scores), {name: _cells(each) for name, each in scores.items()}
    for name, difference in zip(names[1:], against_first, strict=True):
        cells[name] |= _difference_cells(difference)
    return [_table({name: cells[name] for name in names[start : start + ABREAST]}) for start in range(0, len(names), ABREAST)]


def notes(against_first: Sequence[PairedDifference], first: str) -> list[str]:
    """What a reader has to be told."""
    said = ["percent [95 % bootstrap interval over problems]; cons@k: majority vote over extracted answers, ties split"]
    if against_first:
        said.append(f"difference: avg@k less that of {first}, in points; p: paired t-test over problems, Holm-corrected")
    if any(each.pairs < FEWEST_PROBLEMS for each in against_first):
        said.append(f"no p below {FEWEST_PROBLEMS} problems in common: too few for a test")
    return said


def _table(cells: Mapping[str, Mapping[str, str]]) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), show_edge=False)
    table.add_column("", no_wrap=True)
    for name in cells:
        table.add_column(name, justify="right", overflow="fold", max_width=19)
    for line in dict.fromkeys(line for column in cells.values() for line in column):
        table.add_row(line, *(column.get(line, "") for column in cells.values()))
    return table


def _cells(scores: Scores) -> dict[str, str]:
    return {
        f"avg@{scores.k}": _percent(scores.avg_at_k),
        **{f"pass@{k}": _percent(interval) for k, interval in scores.pass_at.items()},
        f"cons@{scores.k}": _percent(scores.cons_at_k),
        **{f"{name} ({scores.sizes[name]})": _percent(interval) for name, interval in scores.by_difficulty.items()},
        "truncated": f"{scores.truncated:.1%}".replace("%", " %"),
        "length (tokens)": f"{scores.response_length:,.0f}",
        "problems": str(len(scores.accuracy)),
    }


def _difference_cells(difference: PairedDifference) -> dict[str, str]:
    return {
        "difference": _percent(Interval(difference.mean, difference.low, difference.high), sign="+"),
        "p": "-" if math.isnan(difference.p) else "< 0.001" if difference.p < 0.001 else f"{difference.p:.3f}",
    }


def _percent(interval: Interval, sign: str = "") -> str:
    if math.isnan(interval.mean):
        return "-"
    mean, low, high = (f"{100 * value:{sign}.1f}" for value in interval)
    return mean if math.isnan(interval.low) else f"{mean} [{low}, {high}]"
