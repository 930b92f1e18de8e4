"""The report of a sweep: two CSV files, a table for each question, figures.

    run folders -> results.csv, curves.csv -> table.md, figures/

Everything behind the two files is made from them alone, so a published sweep needs no more than these (``published``).
"""

from __future__ import annotations

from pathlib import Path

from rltoolkit.report.comparison import compare
from rltoolkit.report.published import RESULTS, publish, read_published
from rltoolkit.report.rows import TABLE_1, order
from rltoolkit.report.runs import Run, by_label, find_runs
from rltoolkit.report.table import columns, markdown, print_tables, protocol


def write_report(sweep_dir: Path) -> list[Path]:
    """Write results.csv, curves.csv, table.md and figures/ into a sweep's folder and print the table; returns what it wrote.

    A folder without runs is rebuilt from its results.csv and curves.csv, which stay as they are. A laboratory's sweep has a table and
    a figure of its own (``lab_report``).

    Raises:
        FileNotFoundError: there is neither a run below the folder nor a results.csv in it.
    """
    from rltoolkit.report.figures import write_sweep_figures
    from rltoolkit.report.lab_report import laboratory_of, write_lab_report

    sweep_dir = Path(sweep_dir)
    try:
        publish(find_runs(sweep_dir), sweep_dir)
    except FileNotFoundError:
        if not (sweep_dir / RESULTS).is_file():
            raise
    runs = read_published(sweep_dir)
    if (lab := laboratory_of(runs)) is not None:
        return write_lab_report(lab, runs, sweep_dir)
    path = sweep_dir / "table.md"
    path.write_text(table(runs, show=True), encoding="utf-8")
    return [path, *write_sweep_figures(runs, sweep_dir / "figures")]


def table(runs: list[Run], *, show: bool = False) -> str:
    """The text of table.md; ``show`` also prints it, as wide as the terminal allows."""
    rows, shared = compare(grouped(runs))
    tables, notes = columns(rows, _k(runs), shared), protocol(rows, shared)
    if show:
        print_tables(rows, tables, notes)
    lines = [line for each in tables for line in (*markdown(rows, each), "")]
    return "\n".join([*lines, *(f"- {note}" for note in notes), ""])


def grouped(runs: list[Run]) -> dict[str, list[Run]]:
    """The runs of each label, in the order of the rows. Where runs are of Table 1, its rows without a run are there too."""
    groups = by_label(runs)
    there = {run.shared.name for run in runs}
    if there & TABLE_1.keys():
        groups |= {name: [] for name in TABLE_1 if name not in there}
    return dict(sorted(groups.items(), key=lambda item: order(item[1][0].shared.name if item[1] else item[0])))


def _k(runs: list[Run]) -> str:
    ks = {run.evaluations[-1].get("k") for run in runs if run.evaluations} - {None, ""}
    return str(ks.pop()) if len(ks) == 1 else "k"
