"""Clip strategies are tested on ratios and probabilities, which can be read, rather than on their logarithms."""

from types import SimpleNamespace

import pytest
import torch


@pytest.fixture
def evaluate():
    """``evaluate(strategy, ratio, advantage, old_probability=..., mask=...)`` on one row of tokens, in float64.

    Returns the token losses, the gradient of their sum by log_probs, and the tokens marked low and high, as lists.
    """

    def run(strategy, ratio, advantage, old_probability=0.1, mask=None):
        def row(values):
            return torch.tensor(values, dtype=torch.float64).expand(1, len(ratio))

        old_log_probs = row(old_probability).log()
        log_probs = (old_log_probs + row(ratio).log()).requires_grad_()
        kept = torch.ones(1, len(ratio), dtype=torch.bool) if mask is None else row(mask).bool()
        result = strategy(log_probs, old_log_probs, row(advantage), kept)
        (gradient,) = torch.autograd.grad(result.loss.sum(), log_probs)
        return SimpleNamespace(
            loss=result.loss[0].tolist(),
            gradient=gradient[0].tolist(),
            low=result.clipped_low[0].tolist(),
            high=result.clipped_high[0].tolist(),
        )

    return run
