import torch

from rltoolkit.kl_penalty import K2


def test_value():
    # d = log_probs - reference = (0.5, -1, 0): d^2 / 2
    values = K2()(torch.tensor([[-1.0, -2.5, -3.0]]), torch.tensor([[-1.5, -1.5, -3.0]]))
    assert values.tolist() == [[0.125, 0.5, 0.0]]
