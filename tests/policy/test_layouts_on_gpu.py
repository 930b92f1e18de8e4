"""Layouts on a GPU in bfloat16, attention of variable length among them: as near to float32 as rows that are padded."""

import pytest
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM
from transformers.utils import is_flash_attn_2_available

from rltoolkit.policy.attention import VARLEN, attend, use_varlen
from rltoolkit.policy.policy import PolicyModel

PROMPT = 30
FLASH = pytest.param(
    "flash_attention_2", "packed", marks=pytest.mark.skipif(not is_flash_attn_2_available(), reason="no flash-attn")
)


def statistics_and_gradient(attention: str, layout: str, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probs of eight responses of 40 to 75 tokens in two groups, and the gradient of their sum in the first layer's queries."""
    torch.manual_seed(0)
    input_ids, mask = torch.randint(1000, (8, 105)), torch.zeros(8, 105, dtype=torch.bool)
    for row in range(8):
        input_ids[row, :PROMPT] = input_ids[row // 4 * 4, :PROMPT]
        mask[row, PROMPT : PROMPT + 40 + 5 * row] = True
    sizes = {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = Qwen2Config(vocab_size=1000, num_key_value_heads=1, initializer_range=0.15, **sizes)
    model = Qwen2ForCausalLM(config).to("cuda", dtype)
    if attention == VARLEN:
        use_varlen(model)
    else:
        model.config._attn_implementation = attention
    policy = PolicyModel(model, layout=layout)
    log_probs = policy(input_ids.cuda(), mask.cuda()).log_probs
    log_probs.sum().backward()
    return log_probs.detach().float(), policy.decoder_layers[0].self_attn.q_proj.weight.grad.float()


@pytest.mark.gpu
@pytest.mark.parametrize(
    ("attention", "layout"), [("sdpa", "packed"), ("sdpa", "joint"), (VARLEN, "packed"), (VARLEN, "padded"), FLASH]
)
def test_no_layout_is_further_from_float32_than_padding(attention, layout):
    exact = statistics_and_gradient("sdpa", "padded", torch.float32)
    padded = statistics_and_gradient("sdpa", "padded", torch.bfloat16)
    ours = statistics_and_gradient(attention, layout, torch.bfloat16)
    for truth, theirs, mine in zip(exact, padded, ours, strict=True):
        # Both round to 8 bits in the same places but in another order: errors of one size. Rows that saw each other would be
        # 20 times as wrong.
        assert (mine - truth).norm() < 2 * (theirs - truth).norm()


@pytest.mark.gpu
def test_a_window_ends_where_transformers_lets_it_end():
    """A window of 3 tokens: each sees itself and the two before. sdpa is told so by a mask."""
    torch.manual_seed(0)
    query, key, value = torch.randn(3, 2, 4, 10, 32, device="cuda", dtype=torch.bfloat16)
    distance = torch.arange(10, device="cuda")[:, None] - torch.arange(10, device="cuda")
    theirs = torch.nn.functional.scaled_dot_product_attention(query, key, value, (distance >= 0) & (distance < 3))
    ours, _ = attend(None, query, key, value, None, sliding_window=3)
    assert (ours.transpose(1, 2) - theirs).abs().max() < 0.02  # 8 bits
