import torch

from rltoolkit.kl_penalty import NoPenalty


def test_needs_no_reference_and_costs_nothing():
    penalty = NoPenalty()
    assert penalty.reference is None
    assert penalty.coefficient == 0
    assert penalty(torch.tensor([[-1.0, -2.0]]), None).tolist() == [[0.0, 0.0]]
