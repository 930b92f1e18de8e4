import pytest
import torch


@pytest.fixture
def correct():
    """``correct(correction, rho, mask=...)``: the weights for one row of ratios trainer / sampler, as a list."""

    def run(correction, rho, mask=None):
        ratios = torch.tensor([rho], dtype=torch.float64)
        kept = torch.ones_like(ratios, dtype=torch.bool) if mask is None else torch.tensor([mask])
        rollout_log_probs = torch.full_like(ratios, -2.0)
        return correction(rollout_log_probs + ratios.log(), rollout_log_probs, kept)[0].tolist()

    return run
