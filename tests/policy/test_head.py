"""The head: its own backward pass against autograd's through the full logits."""

import pytest
import torch
from torch import nn

from rltoolkit.policy.head import head_statistics
from rltoolkit.sampling_mask import KeptSets

TOKENS, WIDTH, VOCABULARY = 7, 5, 11


def full_logits(states, targets, head, temperature, kept=None):
    """Both statistics by the definition; with ``kept``, of each token's distribution over its own few logits."""
    logits = head(states) / temperature
    if kept is None:
        distribution = torch.distributions.Categorical(logits=logits)
        return distribution.log_prob(targets), distribution.entropy()
    small = [torch.distributions.Categorical(logits=row[ids]) for row, ids in zip(logits, kept, strict=True)]
    places = [ids.index(target) for ids, target in zip(kept, targets.tolist(), strict=True)]
    log_probs = [each.log_prob(torch.tensor(place)) for each, place in zip(small, places, strict=True)]
    return torch.stack(log_probs), torch.stack([each.entropy() for each in small])


def random_sets(targets):
    """For each token its target and some others, from none to all."""
    sets = [{int(target), *range(size)} for target, size in zip(targets, [0, 3, 5, 1, 2, VOCABULARY, 4], strict=True)]
    return [sorted(ids, key=lambda token: token * 7 % VOCABULARY) for ids in sets]  # in no particular order


def kept_sets(kept):
    return KeptSets(torch.tensor([i for ids in kept for i in ids], dtype=torch.int32), torch.tensor([len(ids) for ids in kept]))


@pytest.fixture
def case():
    torch.manual_seed(0)
    states = torch.randn(TOKENS, WIDTH, dtype=torch.float64, requires_grad=True)
    return states, torch.randint(VOCABULARY, (TOKENS,)), nn.Linear(WIDTH, VOCABULARY).double()


@pytest.mark.parametrize("chunk_tokens", [1, 3, 100])  # the last chunk is whole, shorter, or the only one
@pytest.mark.parametrize("used", ["log-probs", "entropies", "both"])
@pytest.mark.parametrize("masked", [False, True])
def test_equals_autograd_through_the_full_logits(case, chunk_tokens, used, masked):
    states, targets, head = case
    kept = random_sets(targets) if masked else None
    inputs = (states, head.weight, head.bias)
    coefficients = torch.randn(2, TOKENS, dtype=torch.float64)
    gradients = []
    for log_probs, entropies in (
        head_statistics(states, targets, head, 0.7, chunk_logits=chunk_tokens * VOCABULARY, kept=kept and kept_sets(kept)),
        full_logits(states, targets, head, 0.7, kept),
    ):
        parts = {"log-probs": coefficients[0] * log_probs, "entropies": coefficients[1] * entropies}
        parts["both"] = parts["log-probs"] + parts["entropies"]
        gradients.append((log_probs, entropies, *torch.autograd.grad(parts[used].sum(), inputs)))
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


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
@pytest.mark.parametrize("chunk_tokens", [3, 100])
def test_logits_in_float32_are_the_product_of_bfloat16_numbers_without_rounding(chunk_tokens, device):
    torch.manual_seed(0)
    states = torch.randn(TOKENS, 64, device=device).bfloat16().requires_grad_()
    head, targets = nn.Linear(64, VOCABULARY, device=device).bfloat16(), torch.randint(VOCABULARY, (TOKENS,), device=device)
    with torch.no_grad():
        head.weight.mul_(30)  # logits of up to 40: bfloat16's neighbours are 0.25 apart there
    exact = nn.Linear(64, VOCABULARY, device=device).double()
    exact.load_state_dict(head.state_dict())
    precise = states.detach().double().requires_grad_()
    expected = full_logits(precise, targets, exact, 1.0)
    expected[0].sum().backward()

    def off(**settings):
        found = head_statistics(states, targets, head, 1.0, chunk_logits=chunk_tokens * VOCABULARY, **settings)
        return [(ours - theirs).abs().max().item() for ours, theirs in zip(found, expected, strict=True)]

    assert max(off(in_float32=True)) < 1e-4
    assert off()[0] > 0.02  # rounded
    log_probs, _ = head_statistics(states, targets, head, 1.0, chunk_logits=chunk_tokens * VOCABULARY, in_float32=True)
    log_probs.sum().backward()
    # the gradients of the logits, at most 1, are rounded to eight bits, then summed over 11 weights of up to 4
    torch.testing.assert_close(states.grad.double(), precise.grad, atol=0.05, rtol=0.01)


def test_bfloat16_is_normalised_in_float32(case):
    states, targets, head = case
    log_probs, entropies = head_statistics(states.bfloat16(), targets, head.bfloat16(), 1.0, chunk_logits=100)
    assert log_probs.dtype == entropies.dtype == torch.float32
