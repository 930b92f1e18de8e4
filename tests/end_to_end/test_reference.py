"""The reference of the KL penalty, in a real run: the policy of the start, or of some optimizer steps ago."""

import pytest

from .conftest import table

# Rewards differ by the lengths of the responses alone, and each rollout step is two optimizer steps.
RUN = ["+experiment=grpo", "rollout_engine=transformers", "reward_shaper=[soft_overlong_punishment]", "cache_length=50",
       "kl_penalty=k3", "optimizer.learning_rate=0.001", "optimizer.warmup_optimizer_steps=0"]  # fmt: skip


def kl(folder):
    return [float(row["kl_reference"]) for row in table(folder / "metrics.csv")]


def test_in_bfloat16_too_the_policy_starts_at_its_reference(command, tmp_path):
    done = command(*RUN, "trainer.compute_dtype=bfloat16", "trainer.max_steps=2", f"hydra.run.dir={tmp_path}")
    assert done.returncode == 0, done.stdout + done.stderr
    first, second = kl(tmp_path)
    assert first == 0 < second  # the second mini-batch meets a policy that has moved


def test_a_reference_that_follows_is_the_policy_of_up_to_so_many_steps_ago(command, tmp_path):
    follows = [*RUN, "reference_every=2"]
    done = command(*follows, "trainer.max_steps=6", f"hydra.run.dir={tmp_path / 'whole'}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "kl k3 to the policy of up to 2 optimizer steps ago" in " ".join(done.stdout.replace("│", " ").split())
    whole = kl(tmp_path / "whole")
    # after steps 2 and 4 the reference is the policy itself
    assert whole[0::2] == pytest.approx([0, 0, 0], abs=1e-6)
    assert min(whole[1::2]) > 1e-5
    # two ranks hold a half of each model, and add up in another order
    done = command(*follows, "trainer.max_steps=6", "trainer.devices=2", f"hydra.run.dir={tmp_path / 'two'}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert kl(tmp_path / "two") == pytest.approx(whole, rel=0.01, abs=1e-6)
    # stopped one step after it was renewed, a run goes on with the reference that it had
    for steps in (3, 6):
        done = command(*follows, f"trainer.max_steps={steps}", f"hydra.run.dir={tmp_path / 'parts'}")
        assert done.returncode == 0, done.stdout + done.stderr
    assert kl(tmp_path / "parts") == whole
