"""The end of a run, where it is not the end of a rollout step, and where somebody does not wait for it."""

import json
import signal
import time
from pathlib import Path

import pytest

from .conftest import table

BASE = ["+experiment=grpo", "rollout_engine=transformers", "task.max_operands=2", "task.eval_size=40"]


def result(path: Path) -> tuple[float, float]:
    (found,) = json.loads((path / "evaluation.json").read_text())["models"].values()
    return found["avg_at_k"]["mean"], found["response_length"]


def test_the_last_evaluation_is_of_the_weights_that_the_run_ends_with(command, tmp_path):
    # 8 x 4 responses in mini-batches of 8: four optimizer steps a rollout step, of which the run makes three. One step at this
    # learning rate changes what is sampled.
    run = tmp_path / "run"
    done = command(
        *BASE, "mini_batch_size=8", "trainer.max_steps=3", "evaluation.every=1", "optimizer.learning_rate=0.003",
        "optimizer.warmup_optimizer_steps=0", "reward_shaper=[soft_overlong_punishment]", "cache_length=50",
        "trainer.log_rollouts_every=0", f"hydra.run.dir={run}",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    first, last = table(run / "evaluations.csv")
    assert (first["optimizer_step"], last["optimizer_step"]) == ("0", "3")
    assert first["response_length"] != last["response_length"]
    assert "sync_gap" not in table(run / "metrics.csv")[0]  # the rollout step did not end, so nothing was sent until the end
    evaluated = command(run, "--output", tmp_path / "evaluated", module="rltoolkit.evaluate", small=False)
    assert evaluated.returncode == 0, evaluated.stdout + evaluated.stderr
    assert result(tmp_path / "evaluated") == pytest.approx((float(last["avg_at_k"]), float(last["response_length"])))
    assert not (run / "rollouts").exists()  # log_rollouts_every=0

    # on another task, whose keys are not those that the run was given
    sums = tmp_path / "sums.jsonl"
    sums.write_text("".join(json.dumps({"prompt": f"{n}+1=", "answer": str(n + 1)}) + "\n" for n in range(6)))
    other = command(run, "task=json_lines", f"task.path={sums}", "task.eval_size=3", "--output", tmp_path / "other",
                    module="rltoolkit.evaluate", small=False)  # fmt: skip
    assert other.returncode == 0, other.stdout + other.stderr
    (found,) = json.loads((tmp_path / "other" / "evaluation.json").read_text())["models"].values()
    assert found["problems"] == 3


def test_ctrl_c_during_the_last_evaluation_costs_the_evaluation_alone(command, tmp_path):
    run = tmp_path / "run"
    overrides = [*BASE, "trainer.max_steps=2", "evaluation.problems=40", "evaluation.k=32", f"hydra.run.dir={run}"]
    process = command(*overrides, start=True)
    while process.poll() is None and not (run / "checkpoints" / "step_000002").exists():
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 130, output
    assert json.loads((run / "run.json").read_text())["status"] == "interrupted"
    assert not (run / "evaluations.csv").exists()
    trained = (run / "metrics.csv").read_bytes()
    again = command(*overrides)
    assert again.returncode == 0, again.stdout + again.stderr
    assert json.loads((run / "run.json").read_text())["status"] == "finished"
    assert [row["optimizer_step"] for row in table(run / "evaluations.csv")] == ["2"]
    assert (run / "metrics.csv").read_bytes() == trained
