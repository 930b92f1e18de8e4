import pytest
import torch


@pytest.fixture
def mask():
    """Four rows with 3, 1, 2 and 0 trained tokens: 6 tokens, 3 active rows."""
    return torch.tensor([[1, 1, 1, 0], [0, 0, 1, 0], [1, 0, 0, 1], [0, 0, 0, 0]]).bool()


@pytest.fixture
def loss(mask):
    """Row sums 6, 4 and 14; nan wherever nothing trains."""
    values = torch.tensor([[1, 2, 3, 0], [0, 0, 4, 0], [5, 0, 0, 9], [0, 0, 0, 0]], dtype=torch.float64)
    return values.masked_fill(~mask, torch.nan)
