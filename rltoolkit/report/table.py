"""The comparison in print: as Markdown with every number, and for a terminal with as much as fits.

Two tables: what each row reaches, beside the paper's number, and how fast it gets there at what cost.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from rltoolkit.report.comparison import Difference, Reach, Row, Shared, counted
from rltoolkit.report.rows import ROWS
from rltoolkit.report.runs import last
from rltoolkit.report.statistics import Interval

if TYPE_CHECKING:
    from rich.table import Table

NOTHING = "-"
WIDE = 110
"""Columns of a terminal that shows every column."""


ENOUGH_SEEDS = 6
"""From here on the range of the seeds holds the mean in 95 % of all cases: 1 - 2 ** (1 - S)."""


class Column(NamedTuple):
    """One column of a table."""

    header: str
    cell: Callable[[Row], str]
    words: bool = False
    """aligned left, and broken between words where a terminal is narrow; numbers are never broken"""
    wide: bool = False
    """left out of a narrow terminal"""
    bracket: bool = False
    """shown with its interval in a terminal, too"""


def columns(rows: list[Row], k: str, shared: Shared) -> tuple[list[Column], list[Column]]:
    """The columns of the two tables."""
    budget = f"{_short(shared.budget)} tokens"
    name = Column("ablation", lambda row: row.title, words=True)
    reached = [
        name,
        Column(f"ours, avg@{k} (%)", lambda row: _interval(row.accuracy), bracket=True),
        Column("paper (%)", _paper),
        Column("vs. row before", lambda row: _difference(row.from_before)),
        Column("p", lambda row: _p(row.from_before)),
        Column("vs. naive GRPO", lambda row: _difference(row.from_naive)),
        Column("p", lambda row: _p(row.from_naive)),
        *([Column("runs", status, words=True)] if len(set(map(status, rows))) > 1 else []),  # else a note says it once
    ]
    cost = [
        name,
        Column(f"mean accuracy to step {_short(shared.last_step)} (%)", lambda row: _interval(row.area_by_steps)),
        Column(f"mean accuracy to {budget} (%)", lambda row: _interval(row.area_by_tokens), wide=True),
        Column(f"accuracy at {budget} (%)", lambda row: _interval(row.at_budget)),
        Column("steps to naive GRPO's end", lambda row: _reach(row.steps_to_naive)),
        Column("tokens to naive GRPO's end", lambda row: _reach(row.tokens_to_naive)),
        Column("truncated", lambda row: _number(row.truncated, ".1%")),
        Column("response length (tokens)", lambda row: _number(row.response_length, ",.0f")),
        Column("generated tokens", lambda row: _number(row.tokens, ",.0f"), wide=True),
        Column("seconds", lambda row: _number(row.seconds, ",.0f"), wide=True),
    ]
    return reached, cost


def protocol(rows: list[Row], shared: Shared) -> list[str]:
    """What the numbers mean: what was asked, and whether all runs were asked the same."""
    runs = [run for row in rows for run in row.runs]
    notes = ["ours: mean over seeds [95 % bootstrap interval over seeds]; of one seed [95 % interval over problems]"]
    seeds = min((len(counted(row.runs)) for row in rows if len(counted(row.runs)) > 1), default=ENOUGH_SEEDS)
    if seeds < ENOUGH_SEEDS:
        notes.append(
            f"below {ENOUGH_SEEDS} seeds an interval, which never reaches beyond the seeds, covers less than 95 %: trust p"
        )
    if any(row.from_before or row.from_naive for row in rows):
        notes += [
            "vs. row before, vs. naive GRPO: paired differences by seed in points; DAPO without a technique is compared with DAPO",
            "p: paired t-test, two-sided, Holm-corrected over the comparisons in a column: Table 1, other rows and leave-one-out "
            "each by themselves",
            "to naive GRPO's end: until the accuracy at which the same seed ends under naive GRPO, median over seeds; "
            "(7/8): so many seeds get there",
            f"mean accuracy: area under the curve over its width; {shared.budget:,.0f} tokens: what every run has generated",
        ]
    notes.append("paper: AIME 2024 avg@32, Qwen2.5-32B (arXiv:2503.14476, Table 1)")
    if len(rows) > 1 and len(statuses := set(map(status, rows))) == 1:
        notes.append(f"runs of each row: {statuses.pop()}")
    for name in ("k", "problems", "reward_function", "temperature", "top_p", "max_new_tokens"):
        values = [run.evaluations[-1][name] for run in runs if run.evaluations and run.evaluations[-1].get(name)]
        different = list(dict.fromkeys(values))
        if len(different) > 1:
            notes.append(f"{name} differs between runs, so their numbers do not compare: {' / '.join(different)}")
        else:
            notes += [f"{name}: {value}" for value in different]
    return notes


def markdown(rows: list[Row], columns: list[Column]) -> list[str]:
    """The lines of a table, columns without a number left out."""
    shown = _with_content(rows, columns)
    head = [[column.header for column in shown], ["---" if column.words else "---:" for column in shown]]
    return [f"| {' | '.join(cells)} |" for cells in (*head, *([column.cell(row) for column in shown] for row in rows))]


def print_tables(rows: list[Row], tables: tuple[list[Column], ...], notes: list[str]) -> None:
    """On the terminal; a narrow one leaves out what runs cost, and all of them most intervals."""
    from rich.console import Console

    console = Console()
    narrow = console.width < WIDE
    left_out = [column.header for table in tables for column in table if narrow and column.wide]
    for table in tables:
        console.print(_rich(rows, [column for column in _with_content(rows, table) if not (narrow and column.wide)]), "")
    if left_out:
        notes = [*notes, f"{', '.join(left_out)}: in table.md, and here in a terminal of {WIDE} columns"]
    for note in notes:
        console.print(f"- {note}", markup=False, highlight=False)


def _rich(rows: list[Row], shown: list[Column]) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True, show_edge=False)
    for column in shown:
        header = column.header if column.words else column.header.replace(" ", "\n")
        table.add_column(header, justify="left" if column.words else "right", no_wrap=not column.words, overflow="fold")
    for row in rows:
        cells = [(column.cell(row), column.bracket) for column in shown]
        table.add_row(*(Text(cell if bracket else cell.partition(" [")[0]) for cell, bracket in cells))
    return table


def _with_content(rows: list[Row], columns: list[Column]) -> list[Column]:
    return [column for column in columns if column.words or any(column.cell(row) != NOTHING for row in rows)]


def _interval(interval: Interval, sign: str = "") -> str:
    """In percent: ``47.9 [45.0, 50.8]``."""
    if not math.isfinite(interval.mean):
        return NOTHING
    value, low, high = (format(100 * each, f"{sign}.1f") for each in interval)
    return f"{value} [{low}, {high}]" if math.isfinite(interval.low + interval.high) else value


def _difference(difference: Difference | None) -> str:
    return NOTHING if difference is None else _interval(Interval(*difference.difference[:3]), sign="+")


def _p(difference: Difference | None) -> str:
    if difference is None or not math.isfinite(difference.p):
        return NOTHING
    return "<0.001" if difference.p < 0.001 else f"{difference.p:.3f}" if difference.p < 0.1 else f"{difference.p:.2f}"


def _reach(reach: Reach) -> str:
    """``96``, ``96 (7/8)``, ``never (3/8)`` where less than half of the seeds get there."""
    if not reach.seeds:
        return NOTHING
    median = "never" if math.isinf(reach.median) else _short(reach.median)
    return median if reach.reached == reach.seeds else f"{median} ({reach.reached}/{reach.seeds})"


def _paper(row: Row) -> str:
    number = ROWS[row.name].paper if row.name in ROWS else None
    return NOTHING if number is None else str(number)


def _number(value: float, unit: str) -> str:
    return format(value, unit) if math.isfinite(value) else NOTHING


def _short(value: float) -> str:
    """``96``, ``9.1k``, ``136k``, ``1.2M``."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.{1 if value < 10 * size else 0}f}{unit}"
    return _number(value, ".0f")


def status(row: Row) -> str:
    """``8 finished``, ``2 finished, 1 failed``, ``unfinished at step 40``, ``no run``."""
    count = Counter(run.status for run in row.runs)
    if len(row.runs) == 1 and count["unfinished"]:
        step = last(row.runs[0].steps, "optimizer_step")
        return f"unfinished at step {step:.0f}" if math.isfinite(step) else "unfinished"
    if len(row.runs) <= 1:
        return row.runs[0].status if row.runs else "no run"
    return ", ".join(f"{count[status]} {status}" for status in ("finished", "failed", "unfinished") if count[status])
