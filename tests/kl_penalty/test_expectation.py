"""Over all tokens of a small vocabulary the estimates can be averaged exactly and held against the divergence itself."""

import pytest
import torch

from rltoolkit.kl_penalty import K1, K2, K3

REFERENCE = torch.tensor([[0.1, 0.2, 0.7]], dtype=torch.float64).log()


def logits():
    return torch.tensor([[0.3, -0.2, 0.6]], dtype=torch.float64, requires_grad=True)


def expected_gradient(penalty):
    """The gradient by the logits that the penalty gives as a loss, averaged over samples of the policy."""
    parameters = logits()
    log_probs = parameters.log_softmax(-1)
    (gradient,) = torch.autograd.grad((log_probs.exp().detach() * penalty(log_probs, REFERENCE)).sum(), parameters)
    return gradient


@pytest.mark.parametrize("penalty", [K1(), K3()], ids=lambda penalty: penalty.name)
def test_k1_and_k3_are_unbiased(penalty):
    log_probs = logits().log_softmax(-1)
    divergence = (log_probs.exp() * (log_probs - REFERENCE)).sum()
    torch.testing.assert_close((log_probs.exp() * penalty(log_probs, REFERENCE)).sum(), divergence)


def test_k1_as_a_loss_has_no_gradient_on_average():
    torch.testing.assert_close(expected_gradient(K1()), torch.zeros(1, 3, dtype=torch.float64))


def test_k2_as_a_loss_has_the_gradient_of_kl_to_the_reference():
    parameters = logits()
    log_probs = parameters.log_softmax(-1)
    (gradient,) = torch.autograd.grad((log_probs.exp() * (log_probs - REFERENCE)).sum(), parameters)
    torch.testing.assert_close(expected_gradient(K2()), gradient)


def test_k3_as_a_loss_has_the_gradient_of_kl_from_the_reference():
    parameters = logits()
    (gradient,) = torch.autograd.grad((REFERENCE.exp() * (REFERENCE - parameters.log_softmax(-1))).sum(), parameters)
    torch.testing.assert_close(expected_gradient(K3()), gradient)
