import pytest
import torch

from rltoolkit.clip_strategy import ClipCov

# log p - mean = (1, 0, -1, 0), A - mean = (1, 1, -1, -1): covariances (1, 0, 1, 0)
LOG_PROBS = torch.tensor([[-1.0, -2.0, -3.0, -2.0]])
ADVANTAGES = torch.tensor([[1.0, 1.0, -1.0, -1.0]])
MASK = torch.ones(1, 4, dtype=torch.bool)


@pytest.mark.parametrize(
    ("hyperparameters", "expected"),
    [
        ({"fraction": 0.24}, []),  # floor(0.24 * 4) = 0
        ({"fraction": 0.25}, [0]),  # 1 of two equals: the first
        ({"fraction": 0.5}, [0, 2]),
        ({"fraction": 0.75}, [0, 2]),  # 3, but only two lie in [1, 5]
        ({"fraction": 0.75, "omega_low": 0.0}, [0, 1, 2]),  # the largest, then the first of the zeros
        ({"fraction": 1.0, "omega_low": 0.0, "omega_high": 0.5}, [1, 3]),
    ],
)
def test_selects_the_largest_in_the_interval(hyperparameters, expected):
    selected = ClipCov(**hyperparameters).select(LOG_PROBS, LOG_PROBS, ADVANTAGES, MASK)
    assert selected[0].nonzero().flatten().tolist() == expected


def test_selected_tokens_teach_nothing():
    log_probs = LOG_PROBS.clone().requires_grad_()
    result = ClipCov(fraction=0.5)(log_probs, LOG_PROBS, ADVANTAGES, MASK)
    result.loss.sum().backward()
    # tokens 0 and 2 are dropped; the others have r = 1: loss and gradient -A
    assert result.loss[0].tolist() == log_probs.grad[0].tolist() == [0.0, -1.0, 0.0, 1.0]
    assert result.clipped_high[0].tolist() == [True, False, False, False]  # A > 0
    assert result.clipped_low[0].tolist() == [False, False, True, False]  # A < 0


def test_the_selection_of_the_step_is_obeyed():
    selected = torch.tensor([[False, True, False, False]])
    loss = ClipCov()(LOG_PROBS, LOG_PROBS, ADVANTAGES, MASK, selected=selected).loss
    assert loss[0].tolist() == [-1.0, 0.0, 1.0, 1.0]


def test_range():
    with pytest.raises(ValueError, match=r"clip_strategy.fraction=1.5: must be in \[0, 1\] \(clip_strategy=clip_cov\)"):
        ClipCov(fraction=1.5)
    with pytest.raises(
        ValueError, match=r"clip_strategy.omega_high=0.5: must be at least omega_low=1.0 \(clip_strategy=clip_cov\)"
    ):
        ClipCov(omega_high=0.5)
