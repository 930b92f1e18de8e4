"""What only a GPU can show: ``pytest -m gpu``."""

import pytest
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM
from transformers.utils import is_flash_attn_2_available

from rltoolkit.model.layout import LAYOUTS
from rltoolkit.model.policy import PolicyModel

from .conftest import table

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")]


def rows() -> tuple[torch.Tensor, torch.Tensor]:
    """Eight responses of 40 to 75 tokens, in two groups with prompts of 30 tokens."""
    torch.manual_seed(0)
    input_ids, mask = torch.randint(1000, (8, 105)), torch.zeros(8, 105, dtype=torch.bool)
    for row in range(8):
        input_ids[row, :30] = input_ids[row // 4 * 4, :30]
        mask[row, 30 : 70 + 5 * row] = True
    return input_ids.cuda(), mask.cuda()


def statistics_and_gradient(attention: str, layout: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probs, and the gradient of their sum with respect to the first layer's queries."""
    torch.manual_seed(1)
    sizes = {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = Qwen2Config(vocab_size=1000, num_key_value_heads=1, attn_implementation=attention, **sizes)
    policy = PolicyModel(Qwen2ForCausalLM(config).to("cuda", torch.bfloat16))
    policy.layout = LAYOUTS[layout]
    input_ids, mask = rows()
    log_probs = policy(input_ids, mask).log_probs
    log_probs.sum().backward()
    return log_probs.detach(), policy.decoder_layers[0].self_attn.q_proj.weight.grad.float()


@pytest.mark.parametrize("attention", ["sdpa", pytest.param("flash_attention_2", marks=pytest.mark.skipif(
    not is_flash_attn_2_available(), reason="needs flash-attn"))])  # fmt: skip
def test_layouts_agree(attention):
    expected, expected_gradient = statistics_and_gradient("sdpa", "padded")
    for layout in ("packed",) if attention != "sdpa" else ("joint", "padded"):
        log_probs, gradient = statistics_and_gradient(attention, layout)
        # bfloat16 has 8 bits: a log-prob near -7 is rounded by up to 0.02 in each of a few operations
        torch.testing.assert_close(log_probs, expected, rtol=0, atol=0.1)
        assert (gradient - expected_gradient).norm() < 0.05 * expected_gradient.norm()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_run_on_the_gpu(command, tmp_path, dtype):
    run = tmp_path / "run"
    tolerance = {"float32": 1e-3, "bfloat16": 0.2}[dtype]
    done = command("+experiment=dapo", "rollout_engine=transformers", "cache_length=50", "trainer.accelerator=gpu",
                   f"trainer.compute_dtype={dtype}", f"trainer.sync_tolerance={tolerance}", "trainer.max_steps=4",
                   f"hydra.run.dir={run}")  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert all(float(row["gradient_norm"]) > 0 for row in table(run / "metrics.csv"))


@pytest.mark.parametrize("subprocess", [False, True])
def test_vllm_lends_its_memory_while_the_trainer_updates(command, tmp_path, subprocess):
    pytest.importorskip("vllm")
    run = tmp_path / "run"
    done = command("+experiment=dapo", "trainer.accelerator=gpu", "trainer.max_steps=4", "rollout_engine.gpu_memory_utilization=0.5",
                   f"rollout_engine.subprocess={subprocess}", "trainer.sync_tolerance=0.2", f"hydra.run.dir={run}")  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert float(table(run / "metrics.csv")[-1]["sync_gap"]) < 0.2


def test_a_sleeping_engine_holds_hardly_any_memory_and_wakes_up_as_it_was(command, tmp_path):
    pytest.importorskip("vllm")
    from rltoolkit.model.tiny import Tiny
    from rltoolkit.rollout_engine import VLLM, Sampling

    model = Tiny(skill_steps=1, habit_steps=1)(seed=0)
    engine = VLLM(gpu_memory_utilization=0.3)(model_path=model, max_length=64, seed=0)
    asked = ([[4, 5, 6]], 4, Sampling(max_new_tokens=8), [0])
    before = engine.generate(*asked)
    awake = torch.cuda.mem_get_info()[0]
    engine.sleep()
    asleep = torch.cuda.mem_get_info()[0]
    assert asleep - awake > 0.2 * torch.cuda.mem_get_info()[1]  # most of the 30 % that it had taken
    assert torch.equal(engine.generate(*asked)["input_ids"], before["input_ids"])
    engine.close()
