import math

import pytest
import torch

from rltoolkit.clip_strategy import KLCov

# log p - mean = (1, 0, -1, 0), A - mean = (1, 1, -1, -1): covariances (1, 0, 1, 0)
LOG_PROBS = torch.tensor([[-1.0, -2.0, -3.0, -2.0]])
ADVANTAGES = torch.tensor([[1.0, 1.0, -1.0, -1.0]])
MASK = torch.ones(1, 4, dtype=torch.bool)


def test_selects_the_largest():
    select = KLCov(fraction=0.25).select
    assert select(LOG_PROBS, LOG_PROBS, ADVANTAGES, MASK)[0].tolist() == [True, False, False, False]  # first of two equals
    masked = torch.tensor([[False, True, True, True]])
    # without the first: log p - mean = (1/3, -2/3, 1/3), A - mean = (4/3, -2/3, -2/3), covariances (4/9, 4/9, -2/9)
    assert not select(LOG_PROBS, LOG_PROBS, ADVANTAGES, masked).any()  # floor(0.25 * 3) = 0, and floor(0.67 * 3) = 2
    assert KLCov(fraction=0.67).select(LOG_PROBS, LOG_PROBS, ADVANTAGES, masked)[0].tolist() == [False, True, True, False]


def test_ties_go_by_position():
    # every covariance is 0; floor(0.01 * 50,000) = 500, the first row
    same = torch.zeros(100, 500)
    selected = KLCov(fraction=0.01).select(same, same, same, torch.ones_like(same, dtype=torch.bool))
    assert selected[0].all()
    assert not selected[1:].any()


def test_selected_tokens_pay_for_leaving_the_old_policy():
    log_ratio = torch.tensor([[0.5, 0.5, -0.5, -0.5]])
    log_probs = LOG_PROBS.clone().requires_grad_()
    result = KLCov(fraction=0.5, coefficient=2.0)(log_probs, LOG_PROBS - log_ratio, ADVANTAGES, MASK)
    result.loss.sum().backward()
    # tokens 0 and 2: -r A + 2 * 0.5, gradient -r A + 2 sign(log r) | the others: -r A, gradient -r A
    up, down = math.exp(0.5), math.exp(-0.5)
    assert result.loss[0].tolist() == pytest.approx([1 - up, -up, 1 + down, down])
    assert log_probs.grad[0].tolist() == pytest.approx([2 - up, -up, down - 2, down])


@pytest.mark.parametrize(("field", "value"), [("fraction", -0.1), ("coefficient", -1.0)])
def test_range(field, value):
    with pytest.raises(ValueError, match=rf"clip_strategy.{field}={value}: .* \(clip_strategy=kl_cov\)"):
        KLCov(**{field: value})
