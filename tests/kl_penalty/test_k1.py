import pytest
import torch

from rltoolkit.kl_penalty import K1


def test_value():
    # d = log_probs - reference = (0.5, -0.5, 0): the estimate itself
    values = K1()(torch.tensor([[-1.0, -2.0, -3.0]]), torch.tensor([[-1.5, -1.5, -3.0]]))
    assert values.tolist() == [[0.5, -0.5, 0.0]]


def test_range():
    with pytest.raises(ValueError, match=r"kl_penalty.coefficient=-1.0: must be at least 0 \(kl_penalty=k1\)"):
        K1(coefficient=-1.0)
