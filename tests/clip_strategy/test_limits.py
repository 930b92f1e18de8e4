"""Where two strategies must agree, they do: values, gradients and, where it makes sense, marks."""

import math

import pytest
import torch

from rltoolkit import registry
from rltoolkit.clip_strategy import (
    CISPO,
    DPPOKL,
    DPPOTV,
    GMPO,
    GSPO,
    SAPO,
    ClipCov,
    ClipHigher,
    DualClip,
    GSPOToken,
    KLCov,
    NoClip,
    OnPolicy,
    Symmetric,
)

ONE_TOKEN = torch.tensor([[True], [True], [True], [True], [False], [True]])
MANY_TOKENS = torch.arange(5) < torch.tensor([5, 3, 1, 4, 0, 2])[:, None]


def evaluate(strategy, mask, spread=0.7):
    generator = torch.Generator().manual_seed(0)
    old_log_probs = -2 * torch.rand(mask.shape, generator=generator, dtype=torch.float64) - 1
    log_probs = (old_log_probs + spread * torch.randn(mask.shape, generator=generator, dtype=torch.float64)).requires_grad_()
    advantages = torch.randn(len(mask), 1, generator=generator, dtype=torch.float64).expand(mask.shape)
    result = strategy(log_probs, old_log_probs, advantages, mask)
    (gradient,) = torch.autograd.grad(result.loss.sum(), log_probs)
    return result, gradient


SAME_EVERYWHERE = [
    (ClipHigher(epsilon_low=0.3, epsilon_high=0.3), Symmetric(epsilon=0.3), MANY_TOKENS),
    (DualClip(c=math.inf), ClipHigher(), MANY_TOKENS),
    (GSPO(epsilon_low=0.3, epsilon_high=0.3), Symmetric(epsilon=0.3), ONE_TOKEN),
    (GSPOToken(), GSPO(), MANY_TOKENS),
    (GMPO(), ClipHigher(epsilon_low=1 - math.exp(-0.4), epsilon_high=math.exp(0.4) - 1), ONE_TOKEN),
    (ClipHigher(epsilon_low=0.999, epsilon_high=math.inf), NoClip(), MANY_TOKENS),
    (DPPOTV(delta=1.0), NoClip(), MANY_TOKENS),
    (DPPOKL(delta=math.inf), NoClip(), MANY_TOKENS),
    (ClipCov(fraction=0.0), NoClip(), MANY_TOKENS),
    (KLCov(fraction=0.0), NoClip(), MANY_TOKENS),
    (KLCov(fraction=1.0, coefficient=0.0), NoClip(), MANY_TOKENS),
]


@pytest.mark.parametrize(("one", "other", "mask"), SAME_EVERYWHERE, ids=lambda value: getattr(value, "name", ""))
def test_same_loss_and_gradient(one, other, mask):
    (result, gradient), (expected, expected_gradient) = evaluate(one, mask), evaluate(other, mask)
    # GMPO carries its row's clipped ratio where the surrogate carries the same product: both are -A times the ratio.
    torch.testing.assert_close(result, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-12, atol=1e-12)


def test_cispo_without_truncation_has_the_gradient_of_no_clip():
    (_, gradient), (_, expected) = evaluate(CISPO(epsilon_high=math.inf), MANY_TOKENS), evaluate(NoClip(), MANY_TOKENS)
    torch.testing.assert_close(gradient, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("strategy", [SAPO(), OnPolicy(), CISPO(), ClipHigher(), GSPO(), GMPO()], ids=lambda s: s.name)
def test_on_fresh_samples_the_gradient_is_the_policy_gradient(strategy):
    (_, gradient), (_, expected) = evaluate(strategy, MANY_TOKENS, spread=0), evaluate(NoClip(), MANY_TOKENS, spread=0)
    torch.testing.assert_close(gradient, expected, rtol=1e-12, atol=1e-12)


# A stopped gradient is not the derivative of the value; these two are held to the strategies above instead.
STOPPED = {"cispo", "gspo_token"}
BUILT_IN = [
    name
    for name in registry.names("clip_strategy")
    if registry.get("clip_strategy", name).__module__.startswith("rltoolkit.") and name not in STOPPED
]


@pytest.mark.parametrize("name", BUILT_IN)
def test_gradient_is_the_derivative_of_the_loss(name):
    fraction = {"fraction": 0.3} if name.endswith("_cov") else {}
    strategy = registry.build("clip_strategy", name, **fraction)
    generator = torch.Generator().manual_seed(1)
    old_log_probs = -2 * torch.rand(MANY_TOKENS.shape, generator=generator, dtype=torch.float64) - 1
    noise = 0.5 * torch.randn(MANY_TOKENS.shape, generator=generator, dtype=torch.float64)
    advantages = torch.randn(len(MANY_TOKENS), 1, generator=generator, dtype=torch.float64).expand(MANY_TOKENS.shape)
    log_probs = (old_log_probs + noise).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: strategy(x, old_log_probs, advantages, MANY_TOKENS).loss, log_probs)


def test_cispo_gradient_is_the_derivative_where_the_weight_is_truncated():
    # both ratios, e and 1/e, lie outside [0.5, 2], so the weight is a constant
    strategy, log_ratio = CISPO(epsilon_low=0.5, epsilon_high=1.0), torch.tensor([[1.0, -1.0]], dtype=torch.float64)
    old_log_probs, advantages = torch.full_like(log_ratio, -3.0), torch.tensor([[1.0, -2.0]], dtype=torch.float64)
    log_probs = (old_log_probs + log_ratio).requires_grad_()
    mask = torch.ones_like(log_ratio, dtype=torch.bool)
    assert torch.autograd.gradcheck(lambda x: strategy(x, old_log_probs, advantages, mask).loss, log_probs)
