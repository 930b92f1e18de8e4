"""Sweeps as a user starts them: real jobs in processes of their own."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rltoolkit.run.sweep import NAME_LENGTH, folder_name

SMALL = [
    "model.skill_steps=20", "model.habit_steps=5", "model.warm_start_seed=0", "prompts_per_step=4", "group_size=4",
    "mini_batch_size=8", "evaluation.problems=4", "evaluation.k=2", "evaluation.every=0", "trainer.max_steps=4",
    "collector.max_generation_batches=2", "collector.at_limit=fill_with_rejected", "rollout_engine=transformers",
]  # fmt: skip
MACHINE = ("seconds", "tokens_per_second", "memory")  # columns that measure the machine


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    return {**os.environ, "RLTOOLKIT_CACHE": str(tmp_path_factory.mktemp("cache")), "HF_HUB_OFFLINE": "1"}


@pytest.fixture(scope="module")
def sweep(environment):
    """``sweep(*overrides, dir=...) -> CompletedProcess`` of a sweep of small runs."""

    def run(*overrides, dir, start=False):
        command = [sys.executable, "-m", "rltoolkit", "-m", *SMALL, *overrides, f'hydra.sweep.dir="{dir}"']
        options = {"env": environment, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "cwd": dir.parent}
        return subprocess.Popen(command, **options) if start else subprocess.run(command, timeout=170, check=False, **options)

    return run


@pytest.fixture(scope="module")
def two(sweep, tmp_path_factory):
    """Two experiments side by side, in a folder with an apostrophe and a space."""
    folder = tmp_path_factory.mktemp("sweep") / "it's here"
    done = sweep("+experiment=grpo,dapo_released", "hydra.launcher.jobs_at_once=2", "hydra.launcher.threads=1", dir=folder)
    assert done.returncode == 0, done.stdout
    return folder, done


def record(folder: Path):
    return json.loads((folder / "run.json").read_text())


def numbers(folder: Path):
    """All that metrics.csv and evaluations.csv say, but for time and memory."""
    tables = {}
    for name in ("metrics.csv", "evaluations.csv"):
        with (folder / name).open(newline="") as file:
            tables[name] = [
                {key: value for key, value in row.items() if not any(word in key for word in MACHINE)}
                for row in csv.DictReader(file)
            ]
    return tables


def test_a_sweep_over_experiments_runs_each_of_them(two):
    # the folders are named after what differs, without the dozen overrides that both share: their names would be too long
    folder, done = two
    for experiment in ("grpo", "dapo_released"):
        found = record(folder / f"experiment={experiment}")
        assert (found["experiment"], found["status"]) == (experiment, "finished")
    assert (folder / "table.md").is_file()
    assert "viewer.html" in (folder / "viewer.html").read_text()
    assert "Error executing job" not in done.stdout


def test_side_by_side_the_terminal_has_lines_and_each_folder_a_log(two):
    folder, done = two
    assert f"job 1  started   {folder}/experiment=grpo\n" in done.stdout
    assert "job 2  finished in " in done.stdout
    assert "optimizer steps" not in done.stdout
    assert "optimizer steps" in (folder / "experiment=grpo" / "log.txt").read_text()


def test_side_by_side_the_results_are_those_of_a_job_alone(two, sweep, tmp_path):
    folder, _ = two
    done = sweep("+experiment=dapo_released", "hydra.launcher.threads=1", dir=tmp_path / "alone")
    assert "optimizer steps" in done.stdout  # one at a time, jobs write to the terminal
    # nothing is swept over, so there is nothing to name the folder after
    assert numbers(folder / "experiment=dapo_released") == numbers(tmp_path / "alone" / "job_0")
    assert len(numbers(tmp_path / "alone" / "job_0")["metrics.csv"]) == 4


def test_a_finished_job_is_skipped_only_if_it_is_the_same_run(two, sweep):
    folder, _ = two
    again = sweep("+experiment=grpo,dapo_released", dir=folder)
    assert again.returncode == 0
    assert again.stdout.count("finished before, skipped") == 2
    other = sweep("+experiment=grpo,dapo_released", "optimizer.learning_rate=0.5", dir=folder)
    assert other.returncode == 1
    assert "job 1  failed: " in other.stdout
    assert "learning_rate was 0.0003, now 0.5" in other.stdout
    assert "2 of 2 jobs failed: job 1, job 2" in other.stdout


def test_a_failing_job_does_not_end_the_others(sweep, tmp_path):
    # after 20 steps of warm start no group of 4 on long chains of numbers has a right answer: with `raise` that ends the run
    done = sweep(
        "sampler_filter=[dynamic_sampling]", "collector.at_limit=raise,fill_with_rejected", "task.min_operands=6",
        "hydra.launcher.jobs_at_once=2", "hydra.launcher.threads=1", dir=tmp_path / "s",
    )  # fmt: skip
    assert done.returncode == 1
    assert record(tmp_path / "s" / "collector.at_limit=raise")["status"] == "failed"
    assert record(tmp_path / "s" / "collector.at_limit=fill_with_rejected")["status"] == "finished"
    assert "job 1  failed with exit status 1" in done.stdout
    assert "    error: GenerationLimit: " in done.stdout  # from its log
    assert "1 of 2 jobs failed: job 1" in done.stdout
    assert (tmp_path / "s" / "table.md").is_file()


def test_a_signal_to_the_sweep_lets_every_job_write_its_checkpoint(sweep, tmp_path):
    folder = tmp_path / "s"
    overrides = ("seed=0,1", "hydra.launcher.jobs_at_once=2", "hydra.launcher.threads=1", "trainer.max_steps=5000")
    running = sweep(*overrides, dir=folder, start=True)
    metrics = [folder / f"seed={seed}" / "metrics.csv" for seed in (0, 1)]
    deadline = time.monotonic() + 300
    try:
        while not all(file.is_file() and len(file.read_text().splitlines()) > 2 for file in metrics):
            assert running.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
    finally:
        running.send_signal(signal.SIGTERM)  # to the sweep alone, as a job scheduler or `kill` does
        output, _ = running.communicate(timeout=120)
    assert running.returncode == 143
    assert f"interrupted; to go on, start the same sweep again with hydra.sweep.dir={folder}" in output
    for seed, file in enumerate(metrics):
        assert record(folder / f"seed={seed}")["status"] == "interrupted"
        steps = max(int(each.name.removeprefix("step_")) for each in (folder / f"seed={seed}" / "checkpoints").glob("step_*"))
        assert steps == len(file.read_text().splitlines()) - 1  # but for the header: not a step was lost


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["trainer.max_steps=2,0"],
            "job 2 of 2 (trainer.max_steps=0) cannot run, so none was started:\nerror: trainer.max_steps=0",
        ),
        (["optimizer.weight_decay=0,abc"], "job 2 of 2 (optimizer.weight_decay=abc) cannot run"),
        (["seed=0,1", "hydra.sweep.subdir=x"], "hydra.sweep.subdir=x: job 1 and job 2 would share the folder"),
        (["seed=0,1", "hydra.launcher.jobs_at_once=0"], "error: hydra.launcher.jobs_at_once=0: must be at least 1"),
        (["seed=0,1", "hydra.launcher.threads=0"], "error: hydra.launcher.threads=0: must be at least 1, or null"),
        (["seed=interval(0,1)"], "error: seed=interval(0,1): a sweep needs single values"),
    ],
)
def test_what_cannot_run_is_refused_before_the_first_job_starts(sweep, tmp_path, overrides, message):
    done = sweep(*overrides, dir=tmp_path / "s")
    assert done.returncode == 2
    assert message in done.stdout
    assert "Traceback" not in done.stdout
    assert not any(tmp_path.rglob("run.json"))


def test_all_jobs_of_a_sweep_have_one_time_in_their_folder(sweep, tmp_path):
    # %f are microseconds. The jobs themselves fail at once, each with its own message, and leave nothing to report on.
    done = sweep(
        "seed=0,1", "task=json_lines", "task.path=nowhere.jsonl", "hydra.launcher.jobs_at_once=2", dir=tmp_path / "${now:%f}"
    )
    assert done.returncode == 1
    folders = [Path(line.split("started")[1].strip()) for line in done.stdout.splitlines() if "started" in line]
    assert [folder.name for folder in folders] == ["seed=0", "seed=1"]
    assert folders[0].parent == folders[1].parent
    assert done.stdout.count("nowhere.jsonl") == 2
    assert "Traceback" not in done.stdout


def test_names_of_folders():
    assert folder_name(["+experiment=grpo", "seed=1"]) == "experiment=grpo,seed=1"
    assert folder_name(["seed=1", "+experiment=grpo"]) == "experiment=grpo,seed=1"
    assert folder_name(["reward_shaper=[a,b]"]) == "reward_shaper=a,b"
    assert folder_name(["+ablation=x", "seed=3", "group_size=4"], exclude=["ablation", "seed"]) == "group_size=4"
    assert folder_name(["a=1", "b=2"], kv_sep="-", item_sep="_") == "a-1_b-2"
    assert folder_name([]) == ""


def test_names_that_lose_something_stay_apart():
    values = ["'it\\'s here'", "'it s here'", "a/b", "a:b", "a$b", "x" * 500, "x" * 501, "ü"]
    names = [folder_name([f"task.path={value}"]) for value in values]
    assert len(set(names)) == len(values)
    # cut at 100 characters, then a dash and 8 digits of a hash
    assert all(len(name) <= NAME_LENGTH + 9 for name in names)
    assert all(set("/'$ :ü").isdisjoint(name) for name in names)
    assert names[2].startswith("task.path=a_b-")
