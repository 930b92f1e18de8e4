"""Through the objective, where the ratio is known."""

import math

import pytest
import torch

from rltoolkit.clip_strategy import OnPolicy
from rltoolkit.kl_penalty import K3, UnbiasedK3
from rltoolkit.loss_aggregator import TokenMean
from rltoolkit.objective import PolicyObjective


def penalty(log_probs, old_log_probs, reference_log_probs, kl_penalty, weights=None):
    """The objective without anything but the KL: advantages of 0."""
    output = PolicyObjective(clip_strategy=OnPolicy(), loss_aggregator=TokenMean(), kl_penalty=kl_penalty)(
        log_probs=log_probs,
        old_log_probs=old_log_probs,
        advantages=torch.zeros_like(log_probs),
        mask=torch.ones_like(log_probs, dtype=torch.bool),
        weights=torch.ones_like(log_probs) if weights is None else weights,
        rollout_log_probs=old_log_probs,
        reference_log_probs=reference_log_probs,
    )
    return output.loss


def test_value_and_gradient():
    # pi = 1/2, old = 1/4, reference = 1/4: r = 2, d = log 2, so 2 (1/2 + log 2 - 1), and the gradient by log pi is r d = 2 log 2
    log_probs = torch.tensor([[math.log(1 / 2)]], dtype=torch.float64, requires_grad=True)
    other = torch.tensor([[math.log(1 / 4)]], dtype=torch.float64)
    loss = penalty(log_probs, other, other, UnbiasedK3(coefficient=1.0))
    assert loss.item() == pytest.approx(2 * (math.log(2) - 1 / 2))
    assert torch.autograd.grad(loss, log_probs)[0].item() == pytest.approx(2 * math.log(2))


def test_on_samples_of_another_policy_it_has_value_and_gradient_of_the_kl():
    # over all tokens of a vocabulary, each weighed with its probability under the policy that sampled: the average is exact
    old, reference = (torch.tensor([p], dtype=torch.float64).log() for p in ([0.6, 0.3, 0.1], [0.1, 0.2, 0.7]))
    logits = torch.tensor([[0.3, -0.2, 0.6]], dtype=torch.float64, requires_grad=True)
    log_probs = logits.log_softmax(-1)
    divergence = (log_probs.exp() * (log_probs - reference)).sum()
    average = penalty(log_probs, old, reference, UnbiasedK3(coefficient=1.0), weights=old.exp())
    torch.testing.assert_close(average, divergence)
    gradients = [torch.autograd.grad(value, logits, retain_graph=True)[0] for value in (average, divergence)]
    torch.testing.assert_close(*gradients)
    biased = penalty(log_probs, old, reference, K3(coefficient=1.0), weights=old.exp())
    assert (torch.autograd.grad(biased, logits)[0] - gradients[1]).abs().max() > 0.05
