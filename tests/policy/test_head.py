"""The head: its own backward pass against autograd's through the full logits."""

import pytest
import torch
from torch import nn

from rltoolkit.policy.head import head_statistics

TOKENS, WIDTH, VOCABULARY = 7, 5, 11


def full_logits(states, targets, head, temperature):
    """Both statistics by the definition."""
    distribution = torch.distributions.Categorical(logits=head(states) / temperature)
    return distribution.log_prob(targets), distribution.entropy()


@pytest.fixture
def case():
    torch.manual_seed(0)
    states = torch.randn(TOKENS, WIDTH, dtype=torch.float64, requires_grad=True)
    return states, torch.randint(VOCABULARY, (TOKENS,)), nn.Linear(WIDTH, VOCABULARY).double()


@pytest.mark.parametrize("chunk_tokens", [1, 3, 100])  # the last chunk is whole, shorter, or the only one
@pytest.mark.parametrize("used", ["log-probs", "entropies", "both"])
def test_equals_autograd_through_the_full_logits(case, chunk_tokens, used):
    states, targets, head = case
    inputs = (states, head.weight, head.bias)
    coefficients = torch.randn(2, TOKENS, dtype=torch.float64)
    gradients = []
    for log_probs, entropies in (
        head_statistics(states, targets, head, 0.7, chunk_logits=chunk_tokens * VOCABULARY),
        full_logits(states, targets, head, 0.7),
    ):
        parts = {"log-probs": coefficients[0] * log_probs, "entropies": coefficients[1] * entropies}
        parts["both"] = parts["log-probs"] + parts["entropies"]
        gradients.append(torch.autograd.grad(parts[used].sum(), inputs))
    torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-12)


def test_a_second_backward_pass_gives_the_same(case):
    states, targets, head = case
    log_probs, _ = head_statistics(states, targets, head, 1.0, chunk_logits=100 * VOCABULARY)
    first, second = (torch.autograd.grad(log_probs.sum(), states, retain_graph=True) for _ in range(2))
    torch.testing.assert_close(first, second, rtol=0, atol=0)


def test_a_frozen_head_gets_no_gradient(case):
    states, targets, head = case
    head.requires_grad_(False)
    head_statistics(states, targets, head, 1.0, chunk_logits=1)[0].sum().backward()
    assert head.weight.grad is None
    assert states.grad.abs().sum() > 0


def test_bfloat16_is_normalised_in_float32(case):
    states, targets, head = case
    log_probs, entropies = head_statistics(states.bfloat16(), targets, head.bfloat16(), 1.0, chunk_logits=100)
    assert log_probs.dtype == entropies.dtype == torch.float32
