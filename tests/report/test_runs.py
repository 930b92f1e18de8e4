"""Reading run folders back, complete or not."""

import json
import math

import pytest

from rltoolkit.report import find_runs
from rltoolkit.report.runs import column, last, read_run


def test_runs_are_found_at_any_depth_in_the_order_of_table_1(tmp_path):
    for path, record in {
        "a/0": {"ablation": "dynamic_sampling", "status": "finished"},
        "b": {"ablation": "naive_grpo", "status": "failed"},
        "c/lr=1": {"ablation": None, "status": "finished"},
    }.items():
        (tmp_path / path).mkdir(parents=True)
        (tmp_path / path / "run.json").write_text(json.dumps(record))
    for path in ("b/csv_logger", "killed"):  # the first lies inside a run, the second never wrote its run.json
        (tmp_path / path).mkdir()
        (tmp_path / path / "metrics.csv").write_text("optimizer_step\n1\n")
    found = [(run.label, run.status) for run in find_runs(tmp_path)]
    assert found == [("naive_grpo", "failed"), ("dynamic_sampling", "finished"), ("c/lr=1", "finished"), ("killed", "unfinished")]


def test_blank_and_half_written_cells_are_nan(tmp_path):
    (tmp_path / "metrics.csv").write_text("optimizer_step,entropy\n1,0.5\n2,\n3,0.25\n4")
    (tmp_path / "run.json").write_text('{"status": "fin')
    (run,) = find_runs(tmp_path)
    assert run.status == "unfinished"
    values = column(run.steps, "entropy")
    assert [value for value in values if not math.isnan(value)] == [0.5, 0.25]
    assert len(values) == 4
    assert last(run.steps, "entropy") == 0.25
    assert math.isnan(last(run.steps, "sampled_reward"))
    assert run.evaluations == []


def test_a_run_by_itself_is_called_after_its_ablation_or_folder(tmp_path):
    (tmp_path / "mine").mkdir()
    assert read_run(tmp_path / "mine").label == "mine"
    (tmp_path / "mine" / "run.json").write_text('{"ablation": "naive_grpo"}')
    assert read_run(tmp_path / "mine").title == "Naive GRPO"


def test_a_folder_without_runs_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no folder with a run\.json or a metrics\.csv"):
        find_runs(tmp_path)


def test_a_rollout_step_is_the_mean_of_its_optimizer_steps_and_the_end_of_its_counters(tmp_path):
    (tmp_path / "metrics.csv").write_text(
        "optimizer_step,rollout_step,entropy,clipped_high_probability\n1,1,0.5,\n2,1,0.3,0.2\n3,2,0.1,\n"
    )
    steps = read_run(tmp_path).steps
    # (0.5 + 0.3) / 2; a blank does not count, and where all are blank there is nothing
    assert [step["optimizer_step"] for step in steps] == ["2", "3"]
    assert [float(step["entropy"]) for step in steps] == [0.4, 0.1]
    assert [step.get("clipped_high_probability") for step in steps] == ["0.2", None]
