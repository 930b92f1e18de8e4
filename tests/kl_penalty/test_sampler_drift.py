import pytest
import torch

from rltoolkit.clip_strategy import ClipHigher
from rltoolkit.kl_penalty import K2, SamplerDrift
from rltoolkit.loss_aggregator import TokenMean, Totals
from rltoolkit.objective import PolicyObjective

NOW = torch.tensor([[-1.0, -2.5, -3.0]])
SAMPLED = torch.tensor([[-1.5, -1.5, -3.0]])


def test_value():
    # d = (0.5, -1, 0): d^2
    assert SamplerDrift()(NOW, SAMPLED).tolist() == [[0.25, 1.0, 0.0]]


def test_it_is_twice_k2_to_the_sampler():
    torch.testing.assert_close(SamplerDrift()(NOW, SAMPLED), 2 * K2()(NOW, SAMPLED))


def objective(penalty):
    return PolicyObjective(clip_strategy=ClipHigher(), loss_aggregator=TokenMean(), kl_penalty=penalty)


def step(**changed):
    """One row of three tokens, the last masked; both clipped at the ceiling, so that the surrogate has no gradient."""
    mask = torch.tensor([[True, True, False]])
    return {
        "log_probs": torch.tensor([[-1.0, -2.0, torch.nan]], requires_grad=True),
        "old_log_probs": torch.tensor([[-2.0, -3.0, 0.0]]),
        "rollout_log_probs": torch.tensor([[-1.5, -4.0, torch.inf]]),
        "advantages": torch.ones(1),
        "mask": mask,
        "weights": TokenMean().weights(mask, Totals.of(mask)),
        **changed,
    }


def test_in_the_objective_it_is_taken_to_the_engines_own_log_probs():
    # d = log_probs - rollout_log_probs = (0.5, 2): mean of squares (0.25 + 4) / 2; surrogate -1.28; 0.1 * 2.125 on top
    # gradient 0.1 * 2 d / 2: 0.05 and 0.2, the surrogate's is 0
    inputs = step()
    output = objective(SamplerDrift(coefficient=0.1))(**inputs)
    output.loss.backward()
    assert output.loss.item() == pytest.approx(-1.28 + 0.2125)
    assert output.sums["kl_reference"].item() == pytest.approx(4.25)
    assert inputs["log_probs"].grad[0].tolist() == pytest.approx([0.05, 0.2, 0.0])


def test_a_reference_model_given_all_the_same_is_not_looked_at():
    with_reference = step(reference_log_probs=torch.full((1, 3), torch.nan))
    assert objective(SamplerDrift())(**with_reference).loss == objective(SamplerDrift())(**step()).loss


def test_range():
    with pytest.raises(ValueError, match=r"kl_penalty.coefficient=-1.0: must be at least 0 \(kl_penalty=sampler_drift\)"):
        SamplerDrift(coefficient=-1.0)
