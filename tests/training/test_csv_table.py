"""The tables a run writes."""

import csv

from rltoolkit.training.csv_table import CsvTable


def read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_new_column_keeps_the_rows_before_it(tmp_path):
    table = CsvTable(tmp_path / "t.csv")
    table.append({"step": 1, "loss": 2})
    table.append({"step": 2, "loss": 3, "gap": 4})
    assert read(tmp_path / "t.csv") == [{"step": "1", "loss": "2", "gap": ""}, {"step": "2", "loss": "3", "gap": "4"}]


def test_a_continued_run_drops_what_it_will_do_again(tmp_path):
    for step in (1, 2, 3):
        CsvTable(tmp_path / "t.csv").append({"step": step})
    CsvTable(tmp_path / "t.csv", keep=lambda row: int(row["step"]) <= 2).append({"step": 3})
    assert [row["step"] for row in read(tmp_path / "t.csv")] == ["1", "2", "3"]
