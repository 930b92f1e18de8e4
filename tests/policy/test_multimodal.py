"""Multimodal models train on text: their language model counts, or they are refused by name before training."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import (
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    MambaConfig,
    MambaForCausalLM,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
)

from rltoolkit.policy.loading import context_length, load_policy, read_architecture

TEXT = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 77,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "pad_token_id": 0,
}
IMAGES = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}


def test_gemma_3_trains_its_language_model(tmp_path: Path) -> None:
    config = Gemma3Config(text_config={**TEXT, "sliding_window": 3, "query_pre_attn_scalar": 8}, vision_config=IMAGES)
    torch.manual_seed(0)
    model = Gemma3ForConditionalGeneration(config)
    model.save_pretrained(tmp_path)
    assert context_length(read_architecture(tmp_path / "config.json")) == 77

    policy = load_policy(tmp_path)
    assert len(policy.decoder_layers) == 2
    input_ids = torch.randint(64, (3, 10), generator=torch.Generator().manual_seed(0))
    mask = torch.arange(10).expand(3, 10) >= 4
    logits = model.eval()(input_ids=input_ids, use_cache=False).logits[:, :-1]
    expected = logits.log_softmax(-1).gather(-1, input_ids[:, 1:, None]).squeeze(-1)[mask[:, 1:]]
    torch.testing.assert_close(policy(input_ids, mask).log_probs[mask], expected, rtol=0, atol=1e-5)
    assert dict(policy.hf_weights()).keys() == load_file(tmp_path / "model.safetensors").keys()


def test_what_transformers_counts_as_no_causal_lm_is_refused_by_name(tmp_path: Path) -> None:
    rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 1, 2]}
    config = Qwen2VLConfig(
        text_config={**TEXT, "rope_parameters": rope},
        vision_config={"depth": 1, "embed_dim": 16, "hidden_size": 32, "num_heads": 2},
    )
    Qwen2VLForConditionalGeneration(config).save_pretrained(tmp_path)
    assert context_length(read_architecture(tmp_path / "config.json")) == 77
    with pytest.raises(ValueError, match=r"transformers has no causal language model for its model_type 'qwen2_vl'"):
        load_policy(tmp_path)


def test_a_recurrent_model_has_no_limit(tmp_path: Path) -> None:
    config = MambaConfig(vocab_size=64, hidden_size=16, num_hidden_layers=2, state_size=4)
    MambaForCausalLM(config).save_pretrained(tmp_path)
    assert context_length(read_architecture(tmp_path / "config.json")) is None
    input_ids = torch.randint(64, (3, 10), generator=torch.Generator().manual_seed(0))
    mask = torch.arange(10).expand(3, 10) >= 4
    policy = load_policy(tmp_path)
    logits = policy.causal_lm(input_ids=input_ids, use_cache=False).logits[:, :-1]
    expected = logits.log_softmax(-1).gather(-1, input_ids[:, 1:, None]).squeeze(-1)[mask[:, 1:]]
    torch.testing.assert_close(policy(input_ids, mask).log_probs[mask], expected, rtol=0, atol=1e-5)
