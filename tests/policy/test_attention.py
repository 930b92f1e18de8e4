"""Torch's attention of variable length: which models take it, and what it is told. What it computes needs a GPU."""

import pytest
import torch

from rltoolkit.policy.attention import VARLEN, lengths_for_kernel, suits
from rltoolkit.policy.layout import LAYOUTS
from rltoolkit.policy.loading import best_attention, load_policy

transformers = pytest.importorskip("transformers")

SIZES = {"vocab_size": 32, "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}


def test_kernels_are_told_where_rows_end():
    lengths = lengths_for_kernel(torch.tensor([3, 1, 4]))
    # rows at 0-2, 3 and 4-7
    assert lengths["cu_seq_lens_q"].tolist() == lengths["cu_seq_lens_k"].tolist() == [0, 3, 4, 8]
    assert lengths["cu_seq_lens_q"].dtype == torch.int32
    assert lengths["max_length_q"] == lengths["max_length_k"] == 4


def test_a_model_that_can_exchange_its_attention_is_packed(tmp_path):
    transformers.Qwen2ForCausalLM(transformers.Qwen2Config(**SIZES, num_key_value_heads=1)).save_pretrained(tmp_path)
    policy = load_policy(tmp_path, VARLEN)
    assert policy.causal_lm.config._attn_implementation == VARLEN
    assert policy.layout is LAYOUTS["packed"]


def test_a_model_with_an_attention_of_its_own_keeps_it(tmp_path):
    config = transformers.GPTJConfig(vocab_size=32, n_embd=32, n_layer=1, n_head=2, rotary_dim=8)
    transformers.GPTJForCausalLM(config).save_pretrained(tmp_path)
    policy = load_policy(tmp_path, VARLEN)
    assert policy.causal_lm.config._attn_implementation != VARLEN
    assert policy.layout is LAYOUTS["padded"]


def test_a_soft_cap_on_attention_is_beyond_it():
    sizes = {**SIZES, "num_key_value_heads": 1, "head_dim": 16}
    assert not suits(transformers.Gemma2ForCausalLM(transformers.Gemma2Config(**sizes, attn_logit_softcapping=30.0)))
    assert suits(transformers.Gemma2ForCausalLM(transformers.Gemma2Config(**sizes, attn_logit_softcapping=None)))


def test_a_cpu_and_float32_train_with_sdpa():
    assert best_attention("cpu", "bfloat16") == best_attention("cuda", "float32") == "sdpa"
