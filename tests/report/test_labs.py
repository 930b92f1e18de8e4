"""Laboratories: what their measures are made of, the table, and that an experiment and its entry know each other."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from rltoolkit.report import find_runs, read_run, write_report
from rltoolkit.report.lab_report import arms_of, laboratory_of, table
from rltoolkit.report.labs import (
    ACCURACY_BY_TOKENS,
    ENTROPY,
    LABORATORIES,
    SCRATCHPADS,
    ZERO_VARIANCE,
    at_accuracy,
    curve,
    end_of,
    until,
)
from rltoolkit.run import compose

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
PUBLISHED = [
    file.parent for file in sorted((*EXPERIMENTS.glob("labs/*/results.csv"), *EXPERIMENTS.glob("prompt_selection/results.csv")))
]


@pytest.fixture
def write_lab_run(tmp_path):
    """A run of a laboratory: its rows of metrics.csv are ``rows``."""

    def write(
        path, rows, *, experiment, config, seed=0, status="finished", evaluations=({"optimizer_step": 4, "avg_at_k": 0.5},)
    ):
        folder = tmp_path / path
        folder.mkdir(parents=True)
        for name, lines in {"metrics.csv": rows, "evaluations.csv": evaluations}.items():
            with (folder / name).open("w", newline="") as file:
                writer = csv.DictWriter(file, list(lines[0]))
                writer.writeheader()
                writer.writerows(lines)
        record = {"experiment": experiment, "ablation": None, "seed": seed, "status": status, "config": {"seed": seed, **config}}
        (folder / "run.json").write_text(json.dumps(record))
        return folder

    return write


def rows_of(*rollouts, updates=2):
    """Rows of metrics.csv: two optimizer steps for each rollout step, whose columns are given."""
    rows = []
    for number, columns in enumerate(rollouts, start=1):
        for update in range(updates):
            step = {name: value[update] if isinstance(value, tuple) else value for name, value in columns.items()}
            rows.append({"optimizer_step": (number - 1) * updates + update + 1, "rollout_step": number, **step})
    return rows


@pytest.fixture
def run(write_lab_run):
    rows = rows_of(
        {"sampled_accuracy": 0.2, "sampled_style_sound": 0.1, "sampled_style_flawed": 0.2, "sampled_style_rambling": 0.0,
         "kept_all_correct": 0.1, "kept_all_wrong": 0.3, "generated_tokens_total": 100, "gradient_norm": (1, 3), "entropy": (0.8, 1.0)},
        {"sampled_accuracy": 0.6, "sampled_style_sound": 0.4, "sampled_style_flawed": 0.2, "sampled_style_rambling": 0.1,
         "kept_all_correct": 0.5, "kept_all_wrong": 0.1, "generated_tokens_total": 300, "gradient_norm": (2, 2), "entropy": (0.4, 0.6)},
    )  # fmt: skip
    return read_run(write_lab_run("run", rows, experiment="lab_clip_higher", config={}))


def points(curve):
    return [pytest.approx(list(axis)) for axis in curve]


def test_a_rollout_step_is_one_point(run):
    # two updates a rollout step: the second one ends with optimizer step 4; its entropy is the mean of 0.4 and 0.6
    assert points(ENTROPY(run)) == [[2, 4], [0.9, 0.5]]
    assert points(ACCURACY_BY_TOKENS(run)) == [[100, 300], [0.2, 0.6]]
    assert points(SCRATCHPADS(run)) == [[2, 4], [0.1 + 0.2 + 0.0, 0.4 + 0.2 + 0.1]]
    assert points(ZERO_VARIANCE(run)) == [[2, 4], [0.1 + 0.3, 0.5 + 0.1]]


def test_gradient_noise_is_the_spread_of_the_norm_over_its_mean(run):
    # norms 1 and 3: std sqrt(2 * 1^2 / 1) = 1.414, mean 2; norms 2 and 2: no spread
    assert points(curve("gradient_noise")(run)) == [[2, 4], [2**0.5 / 2, 0]]


def test_entropy_is_read_where_the_accuracy_first_is_at_the_level(run):
    # 40 % lies halfway from 20 to 60 %: at optimizer step 3, where the entropy is halfway from 0.9 to 0.5
    assert at_accuracy(ENTROPY, 0.4)(run) == pytest.approx(0.7)
    assert np.isnan(at_accuracy(ENTROPY, 0.7)(run))


def test_a_level_that_is_never_reached_counts_as_all_of_the_run(run):
    assert until(SCRATCHPADS, 0.5)(run) == pytest.approx(3)  # halfway from 30 % at step 2 to 70 % at step 4
    assert until(SCRATCHPADS, 0.9)(run) == 4


@pytest.mark.parametrize(("heights", "expected"), [([9, 9, 9, 9, 9, 9, 1, 3], 2), ([9, 4], 4), ([9, np.nan], 9)])
def test_the_end_is_the_mean_of_the_last_quarter_and_at_least_one_point(run, heights, expected):
    assert end_of(lambda run: (np.arange(len(heights)), np.array(heights)))(run) == expected


def level(share):
    """Two rollout steps at the same level."""
    columns = dict.fromkeys(("sampled_style_junk", "sampled_style_direct", "sampled_accuracy"), share)
    return rows_of(columns, columns)


@pytest.fixture
def sweep(write_lab_run, tmp_path):
    """Junk at a constant 40, 50 and 60 % under one aggregator, at 30, 30 and 30 % under the other, and a run that failed."""
    for arm, shares in {"sequence_mean": (0.4, 0.5, 0.6), "token_mean": (0.3, 0.3, 0.3)}.items():
        config = {"loss_aggregator": {"_target_": f"rltoolkit.loss_aggregator.{arm}.X"}}
        for seed, share in enumerate(shares):
            write_lab_run(f"{arm}/{seed}", level(share), experiment="lab_token_level_loss", config=config, seed=seed)
    write_lab_run("token_mean/9", level(0.9), experiment="lab_token_level_loss", config=config, seed=9, status="failed")
    return tmp_path


def test_every_arm_is_compared_with_the_first_one_seed_by_seed(sweep):
    runs = find_runs(sweep)
    lab = laboratory_of(runs)
    first, second, *_ = table(lab, arms_of(lab, runs))
    assert (first.measure, first.arm, first.difference, first.p) == ("junk, mean over the run", "sequence mean (GRPO)", "", "")
    assert first.mean.startswith("50.0 % [")
    assert (second.arm, second.mean) == ("token mean (DAPO)", "30.0 % [30.0, 30.0]")
    # differences -10, -20, -30: mean -20, standard error 10 / sqrt(3) = 5.77, t = -3.46 with 2 degrees of freedom, p 0.074;
    # Holm's factor is 4: the other three measures are the same curve, so all four comparisons have this p
    assert second.difference.startswith("-20.0 % [-")
    assert float(second.p) == pytest.approx(4 * 0.0742, abs=0.001)


def test_the_command_knows_a_laboratory_and_fits_80_columns(sweep, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    path, *figures = write_report(sweep)
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= 80
    assert "Token-Level Loss" in printed
    assert "50.0 % [" in printed  # intervals are not broken
    assert "-20.0 % [" in printed
    assert "left out: 1 runs that did not finish" in path.read_text()
    assert [file.name for file in figures if file.is_file()] == ["lab.png", "lab.svg"]


def test_the_published_files_hold_all_that_the_report_needs(sweep, tmp_path_factory):
    before = write_report(sweep)[0].read_text()
    alone = tmp_path_factory.mktemp("published")
    for name in ("results.csv", "curves.csv"):
        (alone / name).write_bytes((sweep / name).read_bytes())
    assert write_report(alone)[0].read_text() == before


def test_runs_of_something_else_are_no_laboratory(run, write_run, tmp_path):
    assert laboratory_of([run]) is LABORATORIES["lab_clip_higher"]
    write_run("other", [0.1], experiment="grpo")
    assert laboratory_of(find_runs(tmp_path)) is None


def asked(generated, right):
    """Two rollout steps of 64 responses trained on, ``generated`` sampled in each, and two evaluations 300,000 tokens apart."""
    steps = {"generated_responses": generated, "trained_responses": 64}
    evaluations = [{"optimizer_step": 0, "generated_tokens_total": 0, "avg_at_k": 0.2}]
    return rows_of(steps, steps), [*evaluations, {"optimizer_step": 4, "generated_tokens_total": 300_000, "avg_at_k": right}]


def test_rows_of_an_ablation_can_be_arms_and_a_measure_may_name_whom_it_compares_with(write_lab_run, tmp_path):
    sampled = {"naive_grpo": (64, 0.4), "plain_dynamic_sampling": (128, 0.6), "prompts_thompson": (96, 0.5)}
    for row, numbers in sampled.items():
        for seed in (0, 1):
            rows, evaluations = asked(*numbers)
            config = {"prompts": row}
            folder = write_lab_run(
                f"{row}/{seed}", rows, experiment="prompt_selection", config=config, seed=seed, evaluations=evaluations
            )
            record = json.loads((folder / "run.json").read_text())
            (folder / "run.json").write_text(json.dumps(record | {"ablation": row}))
    runs = find_runs(tmp_path)
    lab = laboratory_of(runs)
    assert lab is LABORATORIES["prompt_selection"]
    cells = {(cell.measure or heading, cell.arm): cell for heading, cell in zip_headings(table(lab, arms_of(lab, runs)))}
    cost = "responses sampled for each one trained on"
    # 128 / 64, 64 / 64, 96 / 64, compared with the first arm
    assert cells[cost, "dynamic sampling"].mean.startswith("2.00")
    assert cells[cost, "no filter (GRPO)"].difference.startswith("-1.00")
    assert cells[cost, "Thompson"].difference.startswith("-0.50")
    # 60, 40 and 50 %, compared with the run without a filter; on the way there the means of 20 % and these
    end = "held-out accuracy at 300,000 tokens, against no filter (GRPO)"
    assert cells[end, "dynamic sampling"].difference.startswith("+20.0 %")
    assert cells[end, "no filter (GRPO)"].difference == ""
    mean = "held-out accuracy, mean up to 300,000 tokens, against no filter (GRPO)"
    assert cells[mean, "dynamic sampling"].mean.startswith("40.0 %")
    assert cells[mean, "Thompson"].difference.startswith("+5.0 %")


def zip_headings(cells):
    """Each cell with the heading of its block."""
    heading = ""
    for cell in cells:
        heading = cell.measure or heading
        yield heading, cell


@pytest.mark.parametrize("name", LABORATORIES)
def test_the_experiment_composes_in_every_arm(name):
    for arm in LABORATORIES[name].arms:
        run = compose.load(f"+experiment={name}", *arm.split(", "))
        assert run.stamps["experiment"] == name
        assert run.config.trainer.max_steps % run.plan.optimizer_steps_per_rollout == 0  # ends with a whole rollout step


@pytest.mark.parametrize("folder", PUBLISHED, ids=lambda folder: folder.name)
def test_a_published_table_follows_from_its_csv_files_and_the_readme_shows_it(folder, tmp_path):
    for name in ("results.csv", "curves.csv"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    made = write_report(tmp_path)[0].read_text()
    assert made == (folder / "table.md").read_text()
    rows = [line for line in made.splitlines() if line.startswith("|")]
    readme = folder / "README.md" if (folder / "README.md").is_file() else folder.parent / "README.md"
    assert "\n".join(rows) in readme.read_text()
