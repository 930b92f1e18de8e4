import math

import pytest
import torch

from rltoolkit.kl_penalty import K3


def test_value():
    # d = log_probs - reference = (log 2, -log 2, 0): 1/2 + log 2 - 1, 2 - log 2 - 1, 0
    log_probs = torch.tensor([[math.log(0.5), math.log(0.25), -1.0]])
    reference = torch.tensor([[math.log(0.25), math.log(0.5), -1.0]])
    assert K3()(log_probs, reference)[0].tolist() == pytest.approx([math.log(2) - 0.5, 1 - math.log(2), 0.0])
