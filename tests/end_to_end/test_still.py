"""At learning rate 0 nothing moves: what then differs from 1 or 0 in a run is an error, or rounding."""

import pytest
import torch
from safetensors.torch import load_file

from rltoolkit.export import export
from rltoolkit.model.tiny import Tiny

from .conftest import REFILL, assert_refill_was_at_work, table

# One epsilon of float32 in each of some dozens of operations on logits of a few units; a token's log-prob is off by 1e-5 at most,
# here and in the engine.
ROUNDING = 1e-4


@pytest.mark.parametrize("engine", ["vllm", "transformers"])
def test_the_ratio_stays_one_for_twenty_optimizer_steps(command, cache, tmp_path, monkeypatch, engine):
    run = tmp_path / "run"
    done = command(*REFILL, f"rollout_engine={engine}", "optimizer.learning_rate=0", "optimizer.weight_decay=0.1",
                   "trainer.max_steps=20", "trainer.checkpoint_every=10", f"hydra.run.dir={run}")  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    rows = table(run / "metrics.csv")
    assert len(rows) == 20
    assert_refill_was_at_work(rows)
    for row in rows:
        assert float(row["gradient_norm"]) > 0  # there was something to learn
        assert float(row["ratio"]) == pytest.approx(1, abs=ROUNDING)
        assert float(row["ratio_max"]) == pytest.approx(1, abs=ROUNDING)
        assert float(row["kl_old"]) < ROUNDING
        assert float(row["clipped_low"]) == float(row["clipped_high"]) == 0
        assert float(row["mismatch"]) < ROUNDING  # also of groups carried from the rollout step before: its policy was the same
    monkeypatch.setenv("RLTOOLKIT_CACHE", str(cache))
    before = load_file(Tiny(skill_steps=20, habit_steps=5, max_response=24)(seed=0) / "model.safetensors")
    after = load_file(export(run / "checkpoints" / "step_000020", tmp_path / "exported") / "model.safetensors")
    assert before.keys() == after.keys()
    assert [name for name in before if not torch.equal(before[name], after[name])] == []


def test_the_ratio_is_one_where_the_trainer_replays_what_the_engine_cut_off(command, tmp_path):
    run = tmp_path / "run"
    # small sums and large groups: some have right and wrong answers
    done = command("+experiment=grpo", "rollout_engine=transformers", "sampling.top_p=0.8", "sampling.top_k=10", "kl_penalty=k3",
                   "task.max_operands=2", "task.max_operand=4", "task.eval_size=4", "group_size=16", "mini_batch_size=64",
                   "optimizer.learning_rate=0", "trainer.max_steps=4", f"hydra.run.dir={run}")  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    rows = table(run / "metrics.csv")
    assert max(float(row["gradient_norm"]) for row in rows) > 0
    for row in rows:
        assert float(row["mismatch_max"]) < ROUNDING  # trainer against engine
        assert float(row["ratio_max"]) == pytest.approx(1, abs=ROUNDING)
        assert float(row["kl_reference"]) < ROUNDING  # the reference is the same model, and replays the same sets


def test_the_engines_log_probs_as_the_old_ones(command, tmp_path):
    run = tmp_path / "run"
    base = ["+experiment=grpo", "rollout_engine=transformers", "optimizer.learning_rate=0", "trainer.max_steps=4"]
    done = command(*base, "trainer.old_log_probs=engine", f"hydra.run.dir={run}")
    assert done.returncode == 0, done.stdout + done.stderr
    for row in table(run / "metrics.csv"):
        assert float(row["mismatch"]) == 0  # the old log-probs are the rollouts' own
        assert float(row["ratio"]) == pytest.approx(1, abs=ROUNDING)  # and those of the trainer agree with them
    refused = command(*base, "trainer.old_log_probs=engine", "importance_correction=tis", f"hydra.run.dir={tmp_path / 'tis'}")
    assert refused.returncode == 2
    assert "would find no difference" in " ".join(refused.stderr.split())
