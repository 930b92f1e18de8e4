"""Architectures that an engine holds otherwise than the trainer: experts, and models that vLLM runs on transformers' own classes."""

from __future__ import annotations

import pytest
import torch

from rltoolkit.policy.policy import PolicyModel
from rltoolkit.rollout_engine import VLLM, Sampling, Transformers

from .conftest import CHARACTERS, MAX_LENGTH, reference_log_probs, save_tokenizer

SEQUENCE = list(range(2, 40))
EXPERTS = {
    "qwen3_moe": {
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 40,
        "head_dim": 32,
        "num_key_value_heads": 1,
    },
    "mixtral": {"num_local_experts": 4, "num_experts_per_tok": 2, "num_key_value_heads": 1},
}
BORROWED = {"olmo2": {"num_key_value_heads": 1}, "gpt_neox": {}}


def random_causal_lm(model_type: str, **fields):
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(
        model_type,
        vocab_size=len(CHARACTERS) + 2,
        hidden_size=64,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=64,
        initializer_range=0.15,
        bos_token_id=None,
        eos_token_id=0,
        pad_token_id=0,
        **fields,
    )
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config).eval()


@torch.no_grad()
def train_a_little(model) -> None:
    """Change all matrices, each expert's otherwise."""
    for parameter in model.parameters():
        if parameter.ndim > 1:
            parameter.mul_(1 + 0.2 * torch.rand(parameter.shape[0], *[1] * (parameter.ndim - 1)))


def assert_same_log_probs(engine, model) -> None:
    (scores,) = engine.log_probs([SEQUENCE])
    torch.testing.assert_close(scores, reference_log_probs(model, SEQUENCE), atol=1e-4, rtol=0)


@pytest.mark.parametrize("model_type", EXPERTS)
def test_experts_reach_the_transformers_engine(model_type, tmp_path):
    model = random_causal_lm(model_type, **EXPERTS[model_type])
    model.save_pretrained(tmp_path)
    save_tokenizer(tmp_path)
    engine = Transformers(device="cpu")(model_path=tmp_path, max_length=MAX_LENGTH, seed=0)
    before = reference_log_probs(model, SEQUENCE)
    train_a_little(model)
    assert (reference_log_probs(model, SEQUENCE) - before).abs().max() > 0.1
    engine.update_weights(PolicyModel(model).hf_weights(), version=1)
    assert_same_log_probs(engine, model)


@pytest.mark.parametrize("model_type", [*EXPERTS, *BORROWED])
def test_vllm_takes_their_weights_and_leaves_the_trainer_s_model_alone(model_type, tmp_path, process_group):
    pytest.importorskip("vllm")
    model = random_causal_lm(model_type, **{**EXPERTS, **BORROWED}[model_type])
    model.save_pretrained(tmp_path)
    save_tokenizer(tmp_path)
    engine = VLLM()(model_path=tmp_path, max_length=MAX_LENGTH, seed=0)
    try:
        assert_same_log_probs(engine, model)  # the trainer's forward pass works beside the engine
        for version in (1, 2, 3):
            if version > 1:  # the first sync sends what is there already
                train_a_little(model)
            engine.update_weights(PolicyModel(model).hf_weights(), version)
            assert_same_log_probs(engine, model)
        rollouts = engine.generate([SEQUENCE[:3]], 4, Sampling(max_new_tokens=8), [0])
        input_ids, mask = rollouts["input_ids"].flatten(0, 1), rollouts["response_mask"].flatten(0, 1)
        ours = PolicyModel(model)(input_ids, mask).log_probs
        torch.testing.assert_close(ours, rollouts["rollout_log_probs"].flatten(0, 1), atol=1e-4, rtol=0)
    finally:
        engine.close()
