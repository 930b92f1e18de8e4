"""What a run survives: kills at any moment, signals, full disks, broken checkpoints, another number of processes."""

import json
import random
import resource
import shutil
import signal
import time
from pathlib import Path

import pytest

from .conftest import table

# Hardly an answer is right after so short a warm start; punished from six tokens on, responses get rewards that differ.
DAPO = ["+experiment=dapo", "rollout_engine=transformers", "evaluation.every=2", "cache_length=50"]
CLOCKS = ("seconds", "evaluation_seconds", "tokens_per_second", "peak_memory")


def without_clocks(path: Path) -> list[dict[str, str]]:
    """The rows of a run's table, without columns that depend on the machine's speed."""
    return [{name: value for name, value in row.items() if not name.startswith(CLOCKS)} for row in table(path)]


@pytest.fixture(scope="module")
def uninterrupted(command, tmp_path_factory) -> Path:
    """Eight rollout steps of two optimizer steps each."""
    run = tmp_path_factory.mktemp("runs") / "uninterrupted"
    done = command(*DAPO, "trainer.max_steps=16", f"hydra.run.dir={run}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert all(float(row["gradient_norm"]) > 0 for row in table(run / "metrics.csv"))
    return run


def test_killed_ten_times_it_ends_as_the_uninterrupted_run_to_the_bit(command, tmp_path, uninterrupted):
    moments = random.Random(0)
    run = tmp_path / "killed"
    continued = 0

    def rows() -> int:
        return len((run / "metrics.csv").read_text().splitlines()) if (run / "metrics.csv").exists() else 0

    def complete() -> set[Path]:
        return {path for path in (run / "checkpoints").glob("step_*") if path.suffix != ".partial"}

    for attempt in range(10):
        process = command(*DAPO, "trainer.max_steps=16", f"hydra.run.dir={run}", start=True)
        rows_before, complete_before = rows(), complete()

        def wait_until(condition, process=process):
            while process.poll() is None and not condition():
                time.sleep(0.0005)

        wait_until(lambda before=rows_before: rows() != before)  # it trains
        if attempt % 3 == 0:  # while it saves, which it does while it trains
            wait_until(lambda: list((run / "checkpoints").glob("*.partial")))
            time.sleep(moments.uniform(0, 0.02))
        else:
            if attempt % 3 == 1:  # when it has got on
                wait_until(lambda before=complete_before: complete() - before)
            time.sleep(moments.uniform(0, 0.3))
        process.kill()
        output, _ = process.communicate(timeout=60)
        assert process.returncode in (-signal.SIGKILL, 0), output
        continued += "continues from" in output
    assert continued >= 3
    done = command(*DAPO, "trainer.max_steps=16", f"hydra.run.dir={run}")
    assert done.returncode == 0, done.stdout + done.stderr
    for name in ("metrics.csv", "evaluations.csv"):
        assert without_clocks(run / name) == without_clocks(uninterrupted / name)
    assert not list((run / "checkpoints").glob("*.partial"))


def test_under_a_lag_what_was_sampled_ahead_survives_a_kill_and_ranks_make_no_difference(command, tmp_path):
    lagged = ["+experiment=dapo", "rollout_engine=transformers", "cache_length=50", "trainer.max_steps=10", "collector.max_lag=2",
              "importance_correction=tis", "prompt_sampler=thompson", "task.train_size=40"]  # fmt: skip
    process = command(*lagged, f"hydra.run.dir={tmp_path / 'killed'}", start=True)
    while process.poll() is None and not list((tmp_path / "killed" / "checkpoints").glob("step_*4")):
        time.sleep(0.0005)
    process.kill()
    process.communicate(timeout=60)
    for name, more in (("whole", []), ("killed", []), ("two", ["trainer.devices=2"])):
        done = command(*lagged, *more, f"hydra.run.dir={tmp_path / name}")
        assert done.returncode == 0, done.stdout + done.stderr
        assert (name == "killed") == ("continues from" in done.stdout)
    whole, two = (without_clocks(tmp_path / name / "metrics.csv") for name in ("whole", "two"))
    # two optimizer steps a rollout step; the first three are sampled by the weights of the start, the next two by those of step 1, 2
    assert [row["kept_policy_age"] for row in whole[::2]] == ["0", "1", "2", "2", "2"]
    assert without_clocks(tmp_path / "killed" / "metrics.csv") == whole
    for name in ("sampled_accuracy", "prompts_asked", "prompts_pass_rate_error", "generated_tokens", "kept_policy_age"):
        assert [row[name] for row in two] == [row[name] for row in whole], name


def test_the_best_checkpoint_is_kept_beside_the_newest(uninterrupted):
    evaluations = table(uninterrupted / "evaluations.csv")
    accuracies = [float(row["avg_at_k"]) for row in evaluations]
    best = int(evaluations[accuracies.index(max(accuracies))]["optimizer_step"])
    if best == 0:  # the start is evaluated, too, but there is nothing to save yet
        best = None
    kept = sorted(path.name for path in (uninterrupted / "checkpoints").glob("step_*"))
    assert {"step_000014", "step_000016"} <= set(kept)
    assert len(kept) <= 3
    if best is not None:
        assert (uninterrupted / "checkpoints" / "best").resolve().name == f"step_{best:06d}"


def test_another_number_of_processes_continues_and_says_so(command, tmp_path, uninterrupted):
    run = tmp_path / "run"
    first = command(*DAPO, "trainer.max_steps=4", f"hydra.run.dir={run}")
    assert first.returncode == 0, first.stderr
    second = command(*DAPO, "trainer.max_steps=8", "trainer.devices=2", f"hydra.run.dir={run}")
    assert second.returncode == 0, second.stdout + second.stderr
    assert "continued on 2 processes, the checkpoint was written by 1" in " ".join((second.stdout + second.stderr).split())
    expected, found = (table(folder / "metrics.csv")[:8] for folder in (uninterrupted, run))
    for name in ("kept_groups", "generated_tokens"):
        assert [row[name] for row in found] == [row[name] for row in expected]
    for name in ("loss", "gradient_norm", "entropy"):
        assert [float(row[name]) for row in found] == pytest.approx([float(row[name]) for row in expected], abs=1e-4, rel=1e-4)


def test_an_unreadable_checkpoint_is_named(command, tmp_path, uninterrupted):
    run = tmp_path / "run"
    shutil.copytree(uninterrupted, run, symlinks=True)
    newest = run / "checkpoints" / "step_000016"
    for shard in newest.glob("*.distcp"):
        shard.write_bytes(shard.read_bytes()[:100])
    done = command(*DAPO, "trainer.max_steps=18", f"hydra.run.dir={run}")
    assert done.returncode == 1
    assert "step_000016 could not be read" in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    shutil.rmtree(newest)
    again = command(*DAPO, "trainer.max_steps=18", f"hydra.run.dir={run}")
    assert again.returncode == 0, again.stderr
    assert "step_000014" in again.stdout


def test_a_full_disk_ends_the_run_and_leaves_the_checkpoints_before_it(command, tmp_path):
    run = tmp_path / "run"
    first = command(*DAPO, "trainer.max_steps=2", f"hydra.run.dir={run}")
    assert first.returncode == 0, first.stderr
    # no file may grow beyond 0.5 MB: a checkpoint's shard (0.15M parameters, three float32 each: 1.8 MB) meets what a full disk gives
    full = {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000))}
    second = command(*DAPO, "trainer.max_steps=6", f"hydra.run.dir={run}", **full)
    assert second.returncode == 1, second.stdout + second.stderr
    assert "step_000004 could not be written: OSError: [Errno 27] File too large" in " ".join(second.stderr.split())
    assert "step_000002 still stands" in " ".join(second.stderr.split())
    assert [path.name for path in (run / "checkpoints").glob("step_*") if path.suffix != ".partial"] == ["step_000002"]
    third = command(*DAPO, "trainer.max_steps=6", f"hydra.run.dir={run}")
    assert third.returncode == 0, third.stdout + third.stderr


def test_two_runs_do_not_share_a_folder(command, tmp_path):
    run = tmp_path / "run"
    first = command(*DAPO, "trainer.max_steps=5000", f"hydra.run.dir={run}", start=True)
    while first.poll() is None and not (run / "metrics.csv").exists():
        time.sleep(0.1)
    second = command(*DAPO, "trainer.max_steps=5000", f"hydra.run.dir={run}")
    assert second.returncode == 2
    assert "another run is writing to this folder" in " ".join(second.stderr.split())
    first.send_signal(signal.SIGTERM)
    output, _ = first.communicate(timeout=120)
    assert first.returncode == 143, output  # 128 + SIGTERM
    assert json.loads((run / "run.json").read_text())["status"] == "interrupted"
    assert list((run / "checkpoints").glob("step_*"))


def test_a_verifier_that_hangs_costs_its_responses_and_not_the_run(command, tmp_path):
    # the algebra system would work on this power for longer than anyone waits; a check may take half a second
    tower = "9^{9^{9^{9}}}"
    problems = tmp_path / "problems.jsonl"
    problems.write_text(
        "".join(json.dumps({"prompt": f"{a}+{b}=", "answer": tower}) + "\n" for a in range(10, 18) for b in range(4))
    )
    run = tmp_path / "run"
    done = command("+experiment=grpo", "rollout_engine=transformers", "task=json_lines", f"task.path={problems}", "task.eval_size=2",
                   "reward_function=math_verify", "reward_function.timeout=0.5", "reward_shaper=[soft_overlong_punishment]",
                   "cache_length=50", "prompts_per_step=2", "mini_batch_size=4", "evaluation.problems=1", "trainer.max_steps=4",
                   f"hydra.run.dir={run}")  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    rows = table(run / "metrics.csv")
    assert len(rows) == 4
    assert all(float(row["sampled_accuracy"]) == 0 for row in rows)
    # of the eight checks of a rollout step, those of responses with something to compare ran into the limit
    assert int(rows[0]["verifier_failures"]) > 0
