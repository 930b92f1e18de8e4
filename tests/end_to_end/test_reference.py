"""The frozen reference of the KL penalty, in a real run."""

from .conftest import table


def test_in_bfloat16_too_the_policy_starts_at_its_reference(command, tmp_path):
    # Rewards differ by the lengths of the responses alone; the second mini-batch meets a policy that has moved.
    done = command("+experiment=grpo", "rollout_engine=transformers", "reward_shaper=[soft_overlong_punishment]", "cache_length=50",
                   "kl_penalty=k3", "trainer.compute_dtype=bfloat16", "trainer.sync_tolerance=0.2", "optimizer.learning_rate=0.001",
                   "optimizer.warmup_optimizer_steps=0", "trainer.max_steps=2", f"hydra.run.dir={tmp_path}")  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    first, second = (float(row["kl_reference"]) for row in table(tmp_path / "metrics.csv"))
    assert first == 0 < second
