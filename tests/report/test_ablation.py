"""The report of a sweep as a reader meets it: table.md, the terminal, the two CSV files; from run folders made here."""

import csv
import shutil

import pytest

from rltoolkit.report import write_report
from rltoolkit.report.ablation import grouped, table
from rltoolkit.report.published import publish, read_published
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


def cells(text: str, number: int) -> list[list[str]]:
    """The body of a Markdown table of the text, the first one with number 0."""
    lines = text.split("\n\n")[number].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_rows_follow_table_1_with_the_papers_numbers(sweep):
    text = table(find_runs(sweep))
    assert text.startswith("| ablation | ours, avg@32 (%) | paper (%) | vs. naive GRPO | runs |\n")
    # Two finished seeds: 30 and 36, mean 33, and with two seeds the interval takes in both. DAPO shares seed 0 with naive GRPO:
    # 50 - 30 = 20, and one pair has neither interval nor p. Nothing differs from the row before: no such row has run.
    assert cells(text, 0) == [
        ["Naive GRPO", "33.0 [30.0, 36.0]", "30", "-", "2 finished, 1 failed"],
        ["+ Overlong filtering", "-", "36", "-", "no run"],
        ["+ Clip-higher", "-", "38", "-", "failed"],
        ["+ Soft overlong punishment", "-", "41", "-", "no run"],
        ["+ Token-level loss", "-", "42", "-", "no run"],
        ["+ Dynamic sampling (DAPO)", "50.0 [40.0, 60.0]", "50", "+20.0", "finished"],
        ["other", "25.0 [15.0, 35.0]", "-", "-", "unfinished at step 10"],
    ]


def test_speed_and_cost(sweep):
    text = table(find_runs(sweep))
    naive, dapo = (next(row for row in cells(text, 1) if row[0] == name) for name in ("Naive GRPO", "+ Dynamic sampling (DAPO)"))
    # Every finished run ends at step 5 with 1,000 tokens. Naive GRPO: areas (10 + 30) / 2 = 20 and (10 + 36) / 2 = 23, mean 21.5;
    # each seed reaches its own end at the end. DAPO goes from 10 to 50 and is at 30, where its seed ends under naive GRPO, after half.
    assert naive == ["Naive GRPO", "21.5 [20.0, 23.0]", "21.5 [20.0, 23.0]", "33.0 [30.0, 36.0]", "5", "1.0k", "5.0%", "2,000",
                     "1,000", "60"]  # fmt: skip
    assert dapo == ["+ Dynamic sampling (DAPO)", "30.0", "30.0", "50.0", "2", "500", "5.0%", "2,000", "1,000", "60"]


def rate(value, **more):
    """A run's config, the learning rate and what else is given."""
    return {"optimizer": {"learning_rate": value}, **more}


def test_runs_of_other_hyperparameters_are_no_seeds(write_run, tmp_path):
    write_run("a/0", [0.40], ablation="naive_grpo", config=rate(3e-4))
    write_run("b/0", [0.10], ablation="naive_grpo", config=rate(3e-3))
    write_run("b/1", [0.20], ablation="naive_grpo", config=rate(3e-3), seed=1)
    assert cells(table(find_runs(tmp_path)), 0)[:3] == [
        ["Naive GRPO, optimizer.learning_rate=0.0003", "40.0 [30.0, 50.0]", "30", "finished"],
        ["Naive GRPO, optimizer.learning_rate=0.003", "15.0 [10.0, 20.0]", "30", "2 finished"],
        ["+ Overlong filtering", "-", "36", "no run"],
    ]


def test_a_sweep_of_other_things_has_no_rows_of_table_1(write_run, tmp_path):
    write_run("lr=1", [0.2])
    write_run("lr=2", [0.3])
    text = table(find_runs(tmp_path))
    # nothing to compare with: no columns for it, and no words about it
    assert text.startswith("| ablation | ours, avg@32 (%) |\n")
    assert [row[0] for row in cells(text, 0)] == ["lr=1", "lr=2"]
    assert "t-test" not in text
    assert "- runs of each row: finished" in text.splitlines()


def test_runs_that_were_asked_differently_are_called_out(write_run, tmp_path):
    write_run("a", [0.2], k=32, reward_function="exact_match()")
    write_run("b", [0.3], k=4, reward_function="exact_match()")
    lines = table(find_runs(tmp_path)).splitlines()
    assert "- k differs between runs, so their numbers do not compare: 32 / 4" in lines
    assert "- reward_function: exact_match()" in lines


def test_leaving_one_out_stands_behind_table_1(write_run, tmp_path):
    write_run("x", [0.2], ablation="without_clip_higher")
    write_run("y", [0.3], ablation="dynamic_sampling")
    text = table(find_runs(tmp_path))
    assert cells(text, 0)[-1] == ["DAPO without clip-higher", "20.0 [10.0, 30.0]", "-", "-10.0", "finished"]
    assert len(grouped(find_runs(tmp_path))) == 7


def test_a_published_sweep_gives_the_same_report(sweep, tmp_path_factory, capsys):
    write_report(sweep)
    published = tmp_path_factory.mktemp("published")
    for name in ("results.csv", "curves.csv"):
        shutil.copy(sweep / name, published)
    before = {path.name: path.read_bytes() for path in published.iterdir()}
    written = write_report(published)
    assert (published / "table.md").read_text() == (sweep / "table.md").read_text()
    assert [path.name for path in written] == ["table.md", "overview.png", "figure_7_dynamics.png", "answers.png"]
    for figure in ("overview.png", "overview.svg"):
        assert (published / "figures" / figure).read_bytes() == (sweep / "figures" / figure).read_bytes()
    assert before == {name: (published / name).read_bytes() for name in before}
    # it can be read and published again without a change
    publish(read_published(published), published)
    assert before == {name: (published / name).read_bytes() for name in before}


def test_the_two_files(sweep):
    write_report(sweep)
    with (sweep / "results.csv").open() as file:
        results = list(csv.DictReader(file))
    assert list(results[0])[:7] == ["row", "difference", "seed", "run", "status", "optimizer_step", "rollout_step"]
    # Two evaluations in each of the three runs with two scores, one in each of the other three.
    assert len(results) == 2 * 3 + 3
    assert [row["avg_at_k"] for row in results if row["run"] == "0/s1"] == ["0.1", "0.36"]
    assert {row["status"] for row in results if row["row"] == "clip_higher"} == {"failed"}
    with (sweep / "curves.csv").open() as file:
        curves = [row for row in csv.DictReader(file) if row["run"] == "5/s0"]
    assert [row["optimizer_step"] for row in curves] == [str(step) for step in range(1, 11)]
    assert curves[2]["entropy"] == "0.333333"  # 1 / 3 in six digits


def test_a_run_that_failed_before_its_first_evaluation_still_has_a_line(write_run, tmp_path):
    write_run("a", [], ablation="naive_grpo", status="failed")
    write_report(tmp_path)
    with (tmp_path / "results.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert (row["row"], row["status"], row.get("optimizer_step", "")) == ("naive_grpo", "failed", "")
    assert cells((tmp_path / "table.md").read_text(), 0)[0] == ["Naive GRPO", "30", "failed"]


def test_the_report_fits_a_terminal_of_80_columns(sweep, write_run, capsys, monkeypatch):
    write_run("6/0", [0.1, 0.4], ablation="clip_higher", seed=1, config=rate(3e-4), generated_tokens_total=123_456_789_012)
    write_run("6/1", [0.1, 0.4], ablation="soft_overlong_punishment", seed=1)
    monkeypatch.setenv("COLUMNS", "80")
    write_report(sweep)
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= 80
    assert "\N{HORIZONTAL ELLIPSIS}" not in printed  # nothing is cut short
    for whole in ("33.0 [30.0, 36.0]", "50.0 [40.0, 60.0]", "+20.0", "truncated", "unfinished", "2,000"):
        assert whole in printed
    assert "generated tokens, seconds: in table.md" in " ".join(printed.split())
    assert "123,456,789,012" in (sweep / "table.md").read_text()
    assert "123,456,789,012" not in printed
    monkeypatch.setenv("COLUMNS", "150")
    write_report(sweep)
    assert "123,456,789,012" in capsys.readouterr().out
