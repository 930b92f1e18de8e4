"""Real runs: real engines, FSDP2 through Lightning, every file that a run leaves behind."""

import json
import signal
import time
from dataclasses import fields
from itertools import pairwise
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from rltoolkit.collector.counters import Counters
from rltoolkit.columns import EVALUATIONS, METRICS, without_meaning

from .conftest import REFILL, assert_refill_was_at_work, table


def test_dapo_through_vllm(command, tmp_path):
    run = tmp_path / "run"
    done = command("+experiment=dapo", "trainer.max_steps=4", f"hydra.run.dir={run}")
    assert done.returncode == 0, done.stdout + done.stderr
    rows = table(run / "metrics.csv")
    # 8 x 4 responses in mini-batches of 16: two optimizer steps for each of two rollout steps
    assert [(row["optimizer_step"], row["rollout_step"]) for row in rows] == [("1", "1"), ("2", "1"), ("3", "2"), ("4", "2")]
    assert all(float(row["mismatch"]) < 1e-4 for row in rows)  # vLLM's and the trainer's log-probs agree
    assert float(rows[1]["sync_gap"]) < 1e-3  # and still do after a weight sync
    assert json.loads((run / "run.json").read_text())["status"] == "finished"
    (evaluated,) = table(run / "evaluations.csv")
    assert not without_meaning(rows[0], METRICS)
    assert not without_meaning(evaluated, EVALUATIONS)
    assert {f"avg_at_k_difficulty_{operands}" for operands in range(2, 7)} <= evaluated.keys()
    assert (run / "figures" / "overview.png").stat().st_size > 10_000
    assert "<title>" in (run / "viewer.html").read_text()
    sampled = [json.loads(line) for line in (run / "rollouts" / "step_00001.jsonl").read_text().splitlines()]
    assert {"response", "answer", "correct", "reward", "advantage"} <= sampled[0].keys()
    # what a person sees: the table with the derived numbers, and none of the libraries' chatter
    said = " ".join(done.stdout.replace("│", " ").split())
    assert "16 responses -> 2 optimizer steps a rollout step" in said
    assert "old log-probs of the trainer" in said
    for chatter in ("WARNING", "INFO", "torchrl]", "GPU available"):
        assert chatter not in done.stdout + done.stderr

    again = command("+experiment=dapo", "trainer.max_steps=4", f"hydra.run.dir={run}")
    assert "nothing to do" in again.stdout

    evaluated = command(run, "--output", tmp_path / "result", module="rltoolkit.evaluate", small=False)
    assert evaluated.returncode == 0, evaluated.stdout + evaluated.stderr
    # the exported checkpoint answers as the policy did at the end of the run: same seeds, same accuracy
    (found,) = json.loads((tmp_path / "result" / "evaluation.json").read_text())["models"].values()
    assert found["avg_at_k"]["mean"] == pytest.approx(float(table(run / "evaluations.csv")[-1]["avg_at_k"]))
    # a chat model's end of a turn stands in its generation config alone: the model's config knows one stop token, this one two
    stops = {"eos_token_id": [5, AutoTokenizer.from_pretrained(run / "model").eos_token_id]}
    (run / "model" / "generation_config.json").write_text(json.dumps(stops))
    exported = command(run, tmp_path / "hf", module="rltoolkit.export", small=False)
    assert exported.returncode == 0, exported.stderr
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "hf").num_parameters() == 152_704
    assert AutoTokenizer.from_pretrained(tmp_path / "hf").decode([1])
    assert json.loads((tmp_path / "hf" / "generation_config.json").read_text())["eos_token_id"] == stops["eos_token_id"]


def test_stopped_and_continued_equals_uninterrupted_and_two_ranks_equal_one(command, tmp_path):
    # forty problems, so that what the prompt sampler has learned of them decides which come again
    base = [*REFILL, "rollout_engine=transformers", "prompt_sampler=thompson", "task.train_size=40"]
    whole = command(*base, "trainer.max_steps=10", f"hydra.run.dir={tmp_path / 'whole'}")
    assert whole.returncode == 0, whole.stdout + whole.stderr
    for steps in (3, 10):  # 3 is in the middle of the second rollout step
        part = command(*base, f"trainer.max_steps={steps}", f"hydra.run.dir={tmp_path / 'part'}")
        assert part.returncode == 0, part.stdout + part.stderr
    two = command(*base, "trainer.max_steps=10", "trainer.devices=2", f"hydra.run.dir={tmp_path / 'two'}")
    assert two.returncode == 0, two.stdout + two.stderr
    expected = table(tmp_path / "whole" / "metrics.csv")
    assert [row["optimizer_step"] for row in expected] == [str(step) for step in range(1, 11)]
    assert_refill_was_at_work(expected)
    assert all(float(row["gradient_norm"]) > 0 for row in expected)
    assert_seconds_add_up(expected)
    for other, tolerance in (("part", 1e-6), ("two", 1e-4)):
        found = table(tmp_path / other / "metrics.csv")
        for name in (
            "optimizer_step",
            "rollout_step",
            "sampled_accuracy",
            "prompts_asked",
            "prompts_pass_rate_error",
            *(field.name for field in fields(Counters)),
        ):
            assert [row[name] for row in found] == [row[name] for row in expected], (other, name)
        for name in ("loss", "gradient_norm", "entropy", "ratio"):
            ours, theirs = ([float(row[name]) for row in rows] for rows in (expected, found))
            assert theirs == pytest.approx(ours, abs=tolerance, rel=tolerance), (other, name)
        for sample in sorted((tmp_path / "whole" / "rollouts").glob("step_*")):  # kept groups and rejected ones
            assert what_was_sampled(tmp_path / other / "rollouts" / sample.name) == what_was_sampled(sample), (other, sample.name)
        assert_seconds_add_up(found)


def assert_seconds_add_up(rows: list[dict[str, str]]) -> None:
    """``seconds`` of the last row is the sum of the phases, also of a run that was stopped and continued."""
    total = 0.0
    for before, row in pairwise([{"rollout_step": "0"}, *rows]):
        seconds = {name: float(value or 0) for name, value in row.items() if name.startswith("seconds_")}
        assert 0 < seconds["seconds_verification"] < seconds["seconds_generation"]
        if row["rollout_step"] != before["rollout_step"]:
            total += seconds["seconds_waiting"] + seconds["seconds_score"]
        total += sum(seconds[f"seconds_{phase}"] for phase in ("update", "sync", "parity"))
        assert float(row["seconds"]) == pytest.approx(total, rel=1e-4)  # the file has six digits


def what_was_sampled(path: Path) -> list[tuple]:
    keys = ("prompt_index", "response", "correct", "policy_version")
    return [tuple(json.loads(line)[key] for key in keys) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("engine", ["vllm", "transformers"])
def test_ctrl_c_writes_a_checkpoint_and_exits_with_130(command, tmp_path, engine):
    run = tmp_path / "run"
    process = command(
        "+experiment=grpo", f"rollout_engine={engine}", "trainer.max_steps=5000", f"hydra.run.dir={run}", start=True
    )
    while process.poll() is None and not (run / "metrics.csv").exists():
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 130, output
    (checkpoint, *_) = (run / "checkpoints").iterdir()
    assert (checkpoint / "meta.pt").is_file()
    assert json.loads((run / "run.json").read_text())["status"] == "interrupted"
    assert "continues from the checkpoint" in " ".join(output.split())


def test_a_sweep_goes_on_after_a_failure_reports_and_skips_what_is_finished(command, tmp_path):
    # after 25 steps of warm start nothing is right: dynamic sampling keeps no group, while naive GRPO trains on what there is
    overrides = ["+ablation=dynamic_sampling,naive_grpo", "rollout_engine=transformers", "trainer.max_steps=2",
                 "hydra.sweep.subdir=${hydra.job.num}", f"hydra.sweep.dir={tmp_path}", "-m", "collector.at_limit=raise"]  # fmt: skip
    first = command(*overrides)
    assert first.returncode == 1, first.stdout + first.stderr
    assert "error: GenerationLimit: kept 0 of prompts_per_step=8" in " ".join(first.stderr.split())
    statuses = [json.loads((tmp_path / job / "run.json").read_text())["status"] for job in "01"]
    assert statuses == ["failed", "finished"]
    jobs = {row["row"]: row["status"] for row in table(tmp_path / "results.csv")}
    assert jobs == {"dynamic_sampling": "failed", "naive_grpo": "finished"}
    assert "failed" in (tmp_path / "table.md").read_text()
    assert (tmp_path / "figures" / "overview.png").is_file()
    second = command(*overrides)
    assert " ".join(second.stdout.split()).count("finished before, skipped") == 1


def test_steps_that_are_not_finite_are_not_applied_and_end_the_run(command, tmp_path):
    # a learning rate of 1e30 ruins the weights in the first of four steps; the other three see NaN. Responses differ in
    # length, so the punishment gives them different rewards although none is right.
    done = command("+experiment=grpo", "rollout_engine=transformers", "reward_shaper=[soft_overlong_punishment]", "cache_length=50",
                   "mini_batch_size=8", "optimizer.learning_rate=1e30", "optimizer.warmup_optimizer_steps=0", "trainer.max_steps=8",
                   f"hydra.run.dir={tmp_path}")  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    assert "error: NotFinite: 3 optimizer steps in a row" in " ".join(done.stderr.split())
    assert len(list(tmp_path.glob("not_finite_step_1_*.pt"))) == 3
    assert json.loads((tmp_path / "run.json").read_text())["status"] == "failed"
    assert [row["optimizer_step"] for row in table(tmp_path / "metrics.csv")][:1] == ["1"]


def test_kl_in_the_reward(command, tmp_path):
    kl = ["kl_penalty=k1", "kl_penalty.coefficient=0.05"]
    base = ["+experiment=grpo", "rollout_engine=transformers", "reward_shaper=[soft_overlong_punishment]", "cache_length=50",
            "optimizer.learning_rate=0.01", "optimizer.warmup_optimizer_steps=0", "trainer.max_steps=4", *kl]  # fmt: skip
    done = command(*base, "kl_in_reward=true", f"hydra.run.dir={tmp_path / 'in_reward'}")
    assert done.returncode == 0, done.stdout + done.stderr
    rows = table(tmp_path / "in_reward" / "metrics.csv")
    # the first responses are sampled by the reference itself; afterwards the policy has moved away
    assert float(rows[0]["kept_reward_kl"]) == pytest.approx(0, abs=1e-3)
    assert abs(float(rows[2]["kept_reward_kl"])) > 0.05
    assert "kl_reference" not in rows[0]  # no longer a part of the loss
    assert not without_meaning(rows[0], METRICS)
    assert "kl k1 in the reward" in " ".join(done.stdout.replace("│", " ").split())
    refused = command("+experiment=grpo", "kl_in_reward=true", f"hydra.run.dir={tmp_path / 'none'}")
    assert refused.returncode == 2
    assert "kl_in_reward=true needs a KL penalty" in refused.stderr
