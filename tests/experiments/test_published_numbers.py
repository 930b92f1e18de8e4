"""Every published number can be recomputed: the tables of an experiment follow from the CSV files beside them."""

from pathlib import Path

import pytest

from rltoolkit.columns import EVALUATIONS, METRICS, without_meaning
from rltoolkit.report.ablation import table
from rltoolkit.report.lab_report import laboratory_of
from rltoolkit.report.published import CURVES, IDENTITY, RESULTS, publish, read_published
from rltoolkit.report.runs import read_csv

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
COLUMNS = {RESULTS: EVALUATIONS, "evaluations.csv": EVALUATIONS, CURVES: METRICS, "metrics.csv": METRICS}
FILES = sorted(file for name in COLUMNS for file in EXPERIMENTS.glob(f"*/{name}"))
PUBLISHED = sorted(file.parent for file in EXPERIMENTS.glob(f"*/{RESULTS}"))
ABLATIONS = [folder for folder in PUBLISHED if laboratory_of(read_published(folder)) is None]
"""Those of laboratories have tables of another form: tests/report/test_labs.py."""


def table_lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("|")]


@pytest.mark.parametrize("folder", ABLATIONS, ids=lambda folder: folder.name)
def test_the_table_follows_from_the_csv_files(folder):
    assert (folder / "table.md").read_text(encoding="utf-8") == table(read_published(folder))


@pytest.mark.parametrize("folder", ABLATIONS, ids=lambda folder: folder.name)
def test_the_readme_shows_the_table_as_it_is(folder):
    shown = table_lines((folder / "README.md").read_text(encoding="utf-8"))
    assert shown
    assert set(shown) <= set(table_lines((folder / "table.md").read_text(encoding="utf-8")))


@pytest.mark.parametrize("folder", PUBLISHED, ids=lambda folder: folder.name)
def test_the_csv_files_are_in_the_form_that_the_report_writes(folder, tmp_path):
    publish(read_published(folder), tmp_path)
    for name in (RESULTS, CURVES):
        if (folder / name).is_file():
            assert (folder / name).read_bytes() == (tmp_path / name).read_bytes()


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.name}")
def test_every_column_has_its_meaning(file):
    assert not without_meaning((name for name in read_csv(file)[0] if name not in IDENTITY), COLUMNS[file.name])
