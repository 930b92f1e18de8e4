"""Layouts: what the model reads, and that every one of them gives the plain path's numbers."""

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import Qwen2Config, StableLmConfig, StableLmForCausalLM

from rltoolkit.policy import layout
from rltoolkit.policy.layout import LAYOUTS, Joined, default_layout
from rltoolkit.policy.policy import PolicyModel

VOCABULARY = 11


def rows(*prompt_and_response: tuple[list[int], list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Right-padded rows and the mask of their responses."""
    longest = max(len(prompt) + len(response) for prompt, response in prompt_and_response)
    input_ids = torch.zeros(len(prompt_and_response), longest, dtype=torch.int64)
    mask = torch.zeros(input_ids.shape, dtype=torch.bool)
    for row, (prompt, response) in enumerate(prompt_and_response):
        end = len(prompt) + len(response)
        input_ids[row, :end] = torch.tensor(prompt + response)
        mask[row, len(prompt) : end] = True
    return input_ids, mask


TWO_PROMPTS = rows(([5, 6, 7], [1, 2]), ([4, 4], [9]), ([5, 6, 7], [3]))
"""Rows 0 and 2 answer one prompt, row 1 another."""


def test_rows_with_one_prompt_need_it_once():
    input_ids, mask = TWO_PROMPTS
    joint = LAYOUTS["joint"]
    # rows 0 and 2: 3 + 2 + 1 tokens, and row 1 does not fit in beside them
    assert joint.sequences(input_ids, mask) == [Joined([0, 2], 6), Joined([1], 3)]

    arranged = joint.arrange(input_ids, mask)
    assert arranged.input_ids.tolist() == [[5, 6, 7, 1, 2, 3], [4, 4, 9, 0, 0, 0]]
    # the second response goes on from the prompt, so its first token is again token 3 of its row
    assert arranged.position_ids[0].tolist() == [0, 1, 2, 3, 4, 3]
    assert arranged.attention_mask[0, 0].int().tolist() == [
        [1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [1, 1, 1, 1, 0, 0],
        [1, 1, 1, 1, 1, 0],
        [1, 1, 1, 0, 0, 1],  # sees the prompt and itself, not the other response
    ]
    # row 2: its prompt lies at 0, 1, 2, its response at 5; row 1 is the second sequence, which starts at 6
    assert arranged.place[2, :4].tolist() == [0, 1, 2, 5]
    assert arranged.place[1, :3].tolist() == [6, 7, 8]


def test_short_rows_fill_the_sequence_that_the_longest_one_needs():
    input_ids, mask = rows(([5, 6], [1]), ([4], [8, 9, 7, 6, 5]), ([2, 3], [1]))
    joint = LAYOUTS["joint"]
    assert joint.sequences(input_ids, mask) == [Joined([1], 6), Joined([0, 2], 6)]
    arranged = joint.arrange(input_ids, mask)
    assert arranged.input_ids.tolist() == [[4, 8, 9, 7, 6, 5], [5, 6, 1, 2, 3, 1]]
    assert arranged.position_ids.tolist() == [[0, 1, 2, 3, 4, 5], [0, 1, 2, 0, 1, 2]]
    assert arranged.attention_mask[0, 0].equal(torch.ones(6, 6).tril().bool())
    assert arranged.attention_mask[1, 0].int().tolist() == [
        [1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [0, 0, 0, 1, 0, 0],
        [0, 0, 0, 1, 1, 0],
        [0, 0, 0, 1, 1, 1],
    ]


def test_packed_rows_lie_one_after_the_other():
    arranged = LAYOUTS["packed"].arrange(*TWO_PROMPTS)
    assert arranged.input_ids.tolist() == [[5, 6, 7, 1, 2, 4, 4, 9, 5, 6, 7, 3]]
    assert arranged.position_ids.tolist() == [[0, 1, 2, 3, 4, 0, 1, 2, 0, 1, 2, 3]]
    assert arranged.place[1, :3].tolist() == [5, 6, 7]


def test_long_responses_to_a_short_prompt_stay_apart():
    input_ids, mask = rows(([5], [1, 2]), ([5], [3, 4]))
    assert LAYOUTS["joint"].sequences(input_ids, mask) == [Joined([0], 3), Joined([1], 3)]
    assert LAYOUTS["joint"].arrange(input_ids, mask).attention_mask is None


def test_a_joint_sequence_ends_at_its_limit(monkeypatch):
    # 3 + 1 + 1 = 5 tokens; a third response would make 6
    monkeypatch.setattr(layout, "JOINT_TOKENS", 5)
    input_ids, mask = rows(*[([5, 6, 7], [token]) for token in range(1, 6)])
    assert LAYOUTS["joint"].sequences(input_ids, mask) == [Joined([0, 1], 5), Joined([2, 3], 5), Joined([4], 4)]


def test_beside_a_row_beyond_the_limit_nothing_is_joined(monkeypatch):
    monkeypatch.setattr(layout, "JOINT_TOKENS", 5)
    input_ids, mask = rows(([5], [1, 2, 3, 4, 5]), ([6], [1, 2]), ([7], [1, 2]))
    assert LAYOUTS["joint"].arrange(input_ids, mask).input_ids.shape == (3, 6)


def test_the_layout_follows_the_model():
    assert default_layout(Qwen2Config()) == "joint"
    assert default_layout(Qwen2Config(attn_implementation="flash_attention_2")) == "packed"
    windows = SimpleNamespace(layer_types=["full_attention", "sliding_attention"])
    assert default_layout(windows) == "padded"


def causal_lm() -> StableLmForCausalLM:
    """An architecture without RMSNorm, which transformers computes in float32 whatever the weights are."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = StableLmConfig(vocab_size=VOCABULARY, num_key_value_heads=1, initializer_range=0.5, **sizes)
    return StableLmForCausalLM(config).double().eval()


# prompts from a pool of three, so that some are shared; responses shorter and longer than them, some not trained
a_row = st.tuples(
    st.sampled_from([[3], [1, 2, 3, 4], [1, 2, 3, 9, 9, 9]]), st.lists(st.integers(0, VOCABULARY - 1), min_size=1, max_size=7)
)


@pytest.mark.parametrize("name", LAYOUTS)
@settings(max_examples=25, deadline=None)
@given(drawn=st.lists(a_row, min_size=1, max_size=6), trained=st.randoms(use_true_random=False))
def test_values_and_gradients_are_those_of_the_full_logits(name, drawn, trained):
    input_ids, mask = rows(*drawn)
    mask &= torch.tensor([[trained.random() < 0.8 for _ in row] for row in mask.tolist()])
    weights = torch.randn(mask.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    model = causal_lm()

    (PolicyModel(model, layout=name)(input_ids, mask, 0.7).log_probs * weights).sum().backward()
    ours = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()

    log_softmax = (model(input_ids=input_ids, use_cache=False).logits[:, :-1] / 0.7).log_softmax(-1)
    log_probs = torch.nn.functional.pad(log_softmax.gather(-1, input_ids[:, 1:, None]).squeeze(-1), (1, 0)) * mask
    (log_probs * weights).sum().backward()
    for mine, parameter in zip(ours, model.parameters(), strict=True):
        torch.testing.assert_close(mine, parameter.grad, rtol=1e-10, atol=1e-12)
