"""Adapters through the command line: real engines, one and two ranks, and what a run leaves behind."""

import warnings
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.distributed import checkpoint as dcp
from transformers import AutoConfig, AutoModelForCausalLM

from rltoolkit.model.tiny import Tiny
from rltoolkit.policy.lora import LoRA, add_adapters
from rltoolkit.policy.policy import PolicyModel

from .conftest import table

# The punishment gives responses of different lengths different rewards although none is right yet.
ADAPTERS = ["+experiment=grpo", "lora.rank=4", "lora.alpha=8", "optimizer.learning_rate=1e-2",
            "optimizer.warmup_optimizer_steps=0", "reward_shaper=[soft_overlong_punishment]", "cache_length=50"]  # fmt: skip


def trained_policy(run: Path, step: int) -> PolicyModel:
    """The trainer's own model, adapters not merged, from a checkpoint."""
    model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(run / "model"))
    add_adapters(model, LoRA(rank=4, alpha=8), seed=0)
    policy = PolicyModel(model)
    state = {f"policy.{name}": tensor for name, tensor in policy.state_dict().items()}
    with warnings.catch_warnings(action="ignore"):
        dcp.load({"state_dict": state}, checkpoint_id=run / "checkpoints" / f"step_{step:06d}")
    return policy


def base_weights(cache: Path) -> dict[str, torch.Tensor]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RLTOOLKIT_CACHE", str(cache))
        return load_file(Tiny(skill_steps=20, habit_steps=5)(seed=0) / "model.safetensors")


@pytest.mark.parametrize(("engine", "devices"), [("transformers", 2), ("vllm", 1)])
def test_adapters_train_the_engine_follows_and_the_base_stays(command, cache, tmp_path, engine, devices):
    run = tmp_path / "run"
    asked = [*ADAPTERS, f"rollout_engine={engine}", f"trainer.devices={devices}", f"hydra.run.dir={run}"]
    done = command(*asked, "trainer.max_steps=2")
    assert done.returncode == 0, done.stdout + done.stderr
    # rank 4 beside q, k, v, o (64 + 64 each) and gate, up, down (64 + 176 each) of 3 layers: 4 * 3 * (4 * 128 + 3 * 240) = 14,784;
    # with the model's own 152,704 that is 167,488
    assert "0.17M parameters (0.01M trained)" in " ".join(done.stdout.split())
    rows = table(run / "metrics.csv")
    assert [row["optimizer_step"] for row in rows] == ["1", "2"]
    assert all(float(row["gradient_norm"]) > 0 for row in rows)
    assert float(rows[1]["sync_gap_max"]) < 1e-4  # the engine computes with W + scale B A, the trainer with W and B A apart

    exported = command(run, tmp_path / "hf", module="rltoolkit.export", small=False)
    assert exported.returncode == 0, exported.stderr
    policy, base = trained_policy(run, step=2), base_weights(cache)
    for name, parameter in policy.causal_lm.named_parameters():
        if ".lora_" in name:
            assert parameter.any(), name  # A was drawn, and B is no longer zero
        else:
            assert torch.equal(parameter, base[name.replace(".base_layer.", ".")]), name
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "hf")
    assert plain.num_parameters() == 152_704
    input_ids = torch.randint(plain.config.vocab_size, (4, 30), generator=torch.Generator().manual_seed(0))
    mask = torch.arange(30).expand(4, 30) > 0
    log_probs = [model(input_ids, mask).log_probs for model in (policy, PolicyModel(plain))]
    torch.testing.assert_close(*log_probs, rtol=0, atol=1e-5)

    evaluated = command(
        run, f"rollout_engine={engine}", "--output", tmp_path / "result", module="rltoolkit.evaluate", small=False
    )
    assert evaluated.returncode == 0, evaluated.stdout + evaluated.stderr
    assert "avg@2" in evaluated.stdout


def test_two_ranks_continued_on_one_equal_one_rank(command, tmp_path):
    asked = [*ADAPTERS, "rollout_engine=transformers"]
    for run, devices, steps in (("whole", 1, 4), ("part", 2, 2), ("part", 1, 4)):
        done = command(*asked, f"trainer.devices={devices}", f"trainer.max_steps={steps}", f"hydra.run.dir={tmp_path / run}")
        assert done.returncode == 0, done.stdout + done.stderr
    whole, part = (table(tmp_path / run / "metrics.csv") for run in ("whole", "part"))
    assert [row["optimizer_step"] for row in part] == list("1234")
    for name in ("loss", "gradient_norm", "entropy", "ratio"):
        ours, theirs = ([float(row[name]) for row in rows] for rows in (whole, part))
        assert theirs == pytest.approx(ours, abs=1e-4, rel=1e-4), name


def test_a_layer_that_the_model_does_not_have(command, tmp_path):
    done = command(*ADAPTERS, "lora.target_modules=[q_proj,query]", f"hydra.run.dir={tmp_path}")
    assert done.returncode == 2
    message = " ".join(done.stderr.split())
    assert "lora.target_modules=['q_proj', 'query']: must be among down_proj" in message
    assert "must be among down_proj, gate_proj, k_proj, o_proj, q_proj, up_proj, v_proj" in message
    assert "Traceback" not in message
