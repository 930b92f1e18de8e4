"""Whole runs on a GPU: ``pytest -m gpu``. Engine and trainer share it."""

import pytest

from .conftest import table

pytestmark = pytest.mark.gpu

SHAPED = ["+experiment=grpo", "reward_shaper=[soft_overlong_punishment]", "cache_length=50", "optimizer.learning_rate=0.001",
          "optimizer.warmup_optimizer_steps=0", "trainer.accelerator=gpu", "trainer.max_steps=8"]  # fmt: skip
BFLOAT16 = ["trainer.compute_dtype=bfloat16", "rollout_engine.dtype=bfloat16", "trainer.sync_tolerance=0.2"]


@pytest.mark.parametrize("precision", [[], BFLOAT16], ids=["float32", "bfloat16"])
def test_a_run_with_the_transformers_engine(command, tmp_path, precision):
    done = command(*SHAPED, "rollout_engine=transformers", "kl_penalty=k3", *precision, f"hydra.run.dir={tmp_path}")
    assert done.returncode == 0, done.stdout + done.stderr
    rows = table(tmp_path / "metrics.csv")
    assert len(rows) == 8
    assert all(float(row["gradient_norm"]) > 0 for row in rows)
    # policy and reference start as the same model and round in the same way
    assert float(rows[0]["kl_reference"]) == 0 < float(rows[-1]["kl_reference"])


@pytest.mark.parametrize("subprocess", [False, True])
def test_a_vllm_engine_on_the_same_gpu_follows_the_trainer(command, tmp_path, subprocess):
    """Each sync is checked by the run itself: an engine that woke up with other weights would end it (StaleWeights)."""
    pytest.importorskip("vllm")
    done = command(*SHAPED, *BFLOAT16, f"rollout_engine.subprocess={subprocess}", f"hydra.run.dir={tmp_path}")
    assert done.returncode == 0, done.stdout + done.stderr
    gaps = [float(row["sync_gap"]) for row in table(tmp_path / "metrics.csv") if row["sync_gap"]]
    assert len(gaps) == 4  # 8 prompts x 4 responses are two mini-batches of 16
