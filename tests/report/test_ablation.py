"""The ablation's table and results file, from run folders made here."""

import csv

import pytest

from rltoolkit.report import write_report
from rltoolkit.report.ablation import protocol, table
from rltoolkit.report.runs import find_runs


@pytest.fixture
def sweep(write_run, tmp_path):
    write_run("0/s0", [0.1, 0.30], ablation="naive_grpo", seed=0)
    write_run("0/s1", [0.1, 0.36], ablation="naive_grpo", seed=1)
    write_run("0/s2", [0.9], ablation="naive_grpo", seed=2, status="failed")
    write_run("5/s0", [0.1, 0.50], ablation="dynamic_sampling")
    write_run("2/s0", [0.4], ablation="clip_higher", status="failed")
    write_run("other", [0.25], ablation=None, status="started")
    return tmp_path


def test_rows_follow_table_1_with_the_papers_numbers(sweep):
    rows = table(find_runs(sweep))
    # Two finished seeds: mean 33, std sqrt((3^2 + 3^2) / 1) = 4.24, standard error 4.24 / sqrt(2) = 3.0.
    assert [(row.ablation, row.ours, row.paper, row.status) for row in rows] == [
        ("Naive GRPO", "33.0 ± 3.0", "30", "2 finished, 1 failed"),
        ("+ Overlong filtering", "-", "36", "no run"),
        ("+ Clip-higher", "-", "38", "failed"),
        ("+ Soft overlong punishment", "-", "41", "no run"),
        ("+ Token-level loss", "-", "42", "no run"),
        ("+ Dynamic sampling (DAPO)", "50.0 [40.0, 60.0]", "50", "finished"),
        ("other", "25.0 [15.0, 35.0]", "-", "unfinished at step 10"),
    ]
    assert rows[0][3:7] == ("5.0%", "2,000", "1,000", "60")
    assert rows[2][3:7] == ("-",) * 4


def rate(value, **more):
    """A run's config, the learning rate and what else is given."""
    return {"optimizer": {"learning_rate": value}, **more}


def test_runs_of_other_hyperparameters_are_no_seeds(write_run, tmp_path):
    write_run("a/0", [0.40], ablation="naive_grpo", config=rate(3e-4))
    write_run("b/0", [0.10], ablation="naive_grpo", config=rate(3e-3))
    write_run("b/1", [0.20], ablation="naive_grpo", config=rate(3e-3), seed=1)
    rows = table(find_runs(tmp_path))
    # 10 and 20: mean 15, std sqrt((5^2 + 5^2) / 1) = 7.07, over sqrt(2): 5
    assert [(row.ablation, row.ours, row.paper, row.status) for row in rows[:3]] == [
        ("Naive GRPO, optimizer.learning_rate=0.0003", "40.0 [30.0, 50.0]", "30", "finished"),
        ("Naive GRPO, optimizer.learning_rate=0.003", "15.0 ± 5.0", "30", "2 finished"),
        ("+ Overlong filtering", "-", "36", "no run"),
    ]


def test_a_sweep_of_other_things_has_no_rows_of_table_1(write_run, tmp_path):
    write_run("lr=1", [0.2])
    write_run("lr=2", [0.3])
    assert [(row.ablation, row.paper) for row in table(find_runs(tmp_path))] == [("lr=1", "-"), ("lr=2", "-")]


def test_runs_that_were_asked_differently_are_called_out(write_run, tmp_path):
    write_run("a", [0.2], k=32)
    write_run("b", [0.3], k=4)
    notes = protocol(find_runs(tmp_path))
    assert "k differs between runs, so their numbers do not compare: 32 / 4" in notes
    assert "verifier: integer_answer(window=300)" in notes


def test_the_report_on_disk_and_on_screen(sweep, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    path = write_report(sweep)
    lines = path.read_text().splitlines()
    assert lines[0].startswith("| ablation | ours, avg@32 (%) | paper (%) |")
    assert lines[2].startswith("| Naive GRPO | 33.0 ± 3.0 | 30 |")
    assert "33.0 ± 3.0" in capsys.readouterr().out
    with (sweep / "results.csv").open() as file:
        results = list(csv.DictReader(file))
    assert list(results[0])[:9] == [
        *("ablation", "seed", "run", "status", "label"),
        *("optimizer_step", "rollout_step", "generated_tokens", "seconds"),
    ]
    # Two evaluations in each of the three runs with two scores, one in each of the other three.
    assert len(results) == 2 * 3 + 3
    assert [row["avg_at_k"] for row in results if row["run"] == "0/s1"] == ["0.1", "0.36"]
    assert {row["status"] for row in results if row["ablation"] == "clip_higher"} == {"failed"}
    assert (sweep / "figures" / "overview.png").is_file()


def test_the_table_fits_a_terminal_of_80_columns(sweep, write_run, capsys, monkeypatch):
    write_run("6/0", [0.4], ablation="clip_higher", config=rate(3e-4), generated_tokens=123_456_789_012)
    monkeypatch.setenv("COLUMNS", "80")
    write_report(sweep)
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= 80
    assert "\N{HORIZONTAL ELLIPSIS}" not in printed  # nothing is cut short
    for whole in ("33.0 ± 3.0", "50.0 [40.0, 60.0]", "truncated", "unfinished", "2,000"):
        assert whole in printed
    assert "generated tokens and seconds: in table.md" in " ".join(printed.split())
    assert "123,456,789,012" in (sweep / "table.md").read_text()
    monkeypatch.setenv("COLUMNS", "120")
    write_report(sweep)
    assert "123,456,789,012" in capsys.readouterr().out


def test_a_run_that_failed_before_its_first_evaluation_still_has_a_line(write_run, tmp_path):
    write_run("a", [], ablation="naive_grpo", status="failed")
    write_report(tmp_path)
    with (tmp_path / "results.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert (row["ablation"], row["status"], row["optimizer_step"]) == ("naive_grpo", "failed", "")
