import pytest
import torch
from rltoolkit_example.simple_policy_optimization import SimplePolicyOptimization

from rltoolkit import registry
from rltoolkit.clip_strategy import NoClip


def evaluate(strategy, ratio, advantage):
    """The result for one row of tokens, and the gradient of its summed loss by log_probs, in float64."""
    log_probs = torch.tensor([ratio], dtype=torch.float64).log().requires_grad_()
    advantages = torch.tensor([advantage], dtype=torch.float64)
    result = strategy(log_probs, torch.zeros_like(log_probs), advantages, torch.ones_like(log_probs, dtype=torch.bool))
    (gradient,) = torch.autograd.grad(result.loss.sum(), log_probs)
    return result, gradient[0].tolist()


def test_the_penalty_grows_with_the_square_of_the_distance():
    # epsilon 0.2: |A| / (2 epsilon) = 2.5 for |A| = 1, 5 for |A| = 2
    # A 1, r 1.1: -(1.1 - 2.5 * 0.01) = -1.075 | A -1, r 1.5: -(-1.5 - 2.5 * 0.25) = 2.125
    # A -2, r 0.9: -(-1.8 - 5 * 0.01) = 1.85 | A 0: 0
    result, _ = evaluate(SimplePolicyOptimization(), ratio=[1.1, 1.5, 0.9, 1.5], advantage=[1.0, -1.0, -2.0, 0.0])
    assert result.loss[0].tolist() == pytest.approx([-1.075, 2.125, 1.85, 0.0])


def test_the_gradient_fades_to_the_best_ratio_and_turns_behind_it():
    # d loss / d log r = -(A - |A| / epsilon (r - 1)) r, with |A| / epsilon = 5
    # A 1:  r 1.1: -(1 - 0.5) 1.1 = -0.55 | r 1.2: 0 | r 1.5: -(1 - 2.5) 1.5 = 2.25
    # A -1: r 0.9: -(-1 + 0.5) 0.9 = 0.45 | r 0.8: 0 | r 0.5: -(-1 + 2.5) 0.5 = -0.75
    result, gradient = evaluate(
        SimplePolicyOptimization(epsilon=0.2), ratio=[1.1, 1.2, 1.5, 0.9, 0.8, 0.5], advantage=[1.0] * 3 + [-1.0] * 3
    )
    assert gradient == pytest.approx([-0.55, 0.0, 2.25, 0.45, 0.0, -0.75])
    assert result.clipped_high[0, [0, 2, 3, 5]].tolist() == [False, True, False, False]
    assert result.clipped_low[0, [0, 2, 3, 5]].tolist() == [False, False, False, True]


def test_on_fresh_samples_it_is_the_plain_policy_gradient():
    advantage = [1.0, -0.5, 2.0]
    ours, theirs = (evaluate(strategy, [1.0] * 3, advantage) for strategy in (SimplePolicyOptimization(), NoClip()))
    assert ours[0].loss.tolist() == theirs[0].loss.tolist()
    assert ours[1] == theirs[1] == [-1.0, 0.5, -2.0]  # -A


@pytest.mark.parametrize("epsilon", [0.0, 1.0, -0.1])
def test_range(epsilon):
    message = rf"clip_strategy.epsilon={epsilon}: must be in \(0, 1\) \(clip_strategy=simple_policy_optimization\)"
    with pytest.raises(ValueError, match=message):
        SimplePolicyOptimization(epsilon=epsilon)


def test_the_entry_point_makes_it_known_by_name():
    assert registry.build("clip_strategy", "simple_policy_optimization", epsilon=0.1) == SimplePolicyOptimization(epsilon=0.1)
