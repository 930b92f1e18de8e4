import math
import shutil

import pytest
import torch

from rltoolkit import registry
from rltoolkit.clip_strategy import ClipCov, ClipHigher
from rltoolkit.importance_correction import TIS, NoCorrection
from rltoolkit.kl_penalty import K3, NoPenalty
from rltoolkit.loss_aggregator import TokenMean, Totals
from rltoolkit.objective import PolicyObjective


def compose(**parts):
    dapo = {
        "clip_strategy": ClipHigher(),
        "loss_aggregator": TokenMean(),
        "kl_penalty": NoPenalty(),
        "importance_correction": NoCorrection(),
    }
    return PolicyObjective(**{**dapo, **parts})


@pytest.fixture
def step():
    """One row of three tokens, the last masked: ratios 2 and 0.5, rho 4 and 1, reference ratio 1 and 2, A = 1."""
    log_probs = torch.tensor([[0.4, 0.2, 0.1]], dtype=torch.float64).log().requires_grad_()
    mask = torch.tensor([[True, True, False]])
    return {
        "log_probs": log_probs,
        "old_log_probs": torch.tensor([[0.2, 0.4, torch.nan]], dtype=torch.float64).log(),
        "rollout_log_probs": torch.tensor([[0.05, 0.4, 0.0]], dtype=torch.float64).log(),
        "reference_log_probs": torch.tensor([[0.4, 0.1, torch.inf]], dtype=torch.float64).log(),
        "entropy": torch.tensor([[1.0, 3.0, torch.nan]], dtype=torch.float64),
        "advantages": torch.tensor([1.0], dtype=torch.float64),
        "mask": mask,
        "weights": TokenMean().weights(mask, Totals.of(mask)),
    }


def test_dapo(step):
    # ratios 2 and 0.5, A = 1: -1.28 (clipped) and -0.5; the mean of two tokens: -0.89; gradient 0 and -0.5 / 2
    output = compose()(**step)
    output.loss.backward()
    assert output.loss.item() == pytest.approx(-0.89)
    assert step["log_probs"].grad[0].tolist() == pytest.approx([0.0, -0.25, 0.0])


def test_every_term(step):
    # rho 4 truncated at 2: 2 * -1.28 - 0.5 = -3.06
    # k3 with d = log_probs - reference = (0, log 2): 0 and 1/2 + log 2 - 1; times 0.1
    # entropy 1 + 3 = 4, times 0.01 | all halved by the token mean
    objective = compose(kl_penalty=K3(coefficient=0.1), importance_correction=TIS(threshold=2.0), entropy_coefficient=0.01)
    expected = (-3.06 + 0.1 * (math.log(2) - 0.5) - 0.01 * 4) / 2
    assert objective(**step).loss.item() == pytest.approx(expected)


def test_metrics_are_sums_and_maxima_over_trained_tokens(step):
    output = compose(kl_penalty=K3())(**step)
    assert {name: value.item() for name, value in output.sums.items()} == pytest.approx(
        {
            "clipped_low": 0.0,
            "clipped_high": 1.0,
            "clipped_high_probability": 0.4,  # of the first, whose ratio 2 is above 1.28
            "probability": 0.6,  # 0.4 + 0.2
            "ratio": 2.5,  # 2 + 0.5
            "kl_old": 0.5,  # (2 - 1 - log 2) + (0.5 - 1 + log 2)
            "sampler_kl": 3 - math.log(4),  # (4 - 1 - log 4) + 0
            "mismatch": 3.0,  # |4 - 1| + |1 - 1|
            "kl_reference": math.log(2) - 0.5,
            "entropy": 4.0,
        }
    )
    # the larger of ratios 2 and 0.5, and of |4 - 1| and |1 - 1|
    assert {name: value.item() for name, value in output.maxima.items()} == {"ratio_max": 2.0, "mismatch_max": 3.0}


def test_metrics_carry_no_gradient(step):
    step["entropy"].requires_grad_()
    output = compose(kl_penalty=K3(), entropy_coefficient=0.1)(**step)
    assert not any(value.requires_grad for value in [*output.sums.values(), *output.maxima.values()])


def test_advantages_may_differ_by_token(step):
    # A = (-1, 1): ratio 2 is kept for A < 0, +2; with -0.5: 1.5 / 2
    step["advantages"] = torch.tensor([[-1.0, 1.0, torch.nan]], dtype=torch.float64)
    assert compose()(**step).loss.item() == pytest.approx(0.75)


@pytest.mark.parametrize("rows", [0, 1])
def test_nothing_to_train_is_loss_zero(step, rows):
    nothing = {name: tensor[:rows] for name, tensor in step.items()}
    nothing["mask"] = torch.zeros(rows, 3, dtype=torch.bool)
    nothing["weights"] = TokenMean().weights(nothing["mask"], Totals.of(nothing["mask"]))
    output = compose(kl_penalty=K3(), importance_correction=TIS(), entropy_coefficient=0.1)(**nothing)
    output.loss.backward()
    assert output.loss.item() == 0
    assert all(value.item() == 0 for value in [*output.sums.values(), *output.maxima.values()])
    assert step["log_probs"].grad.abs().sum().item() == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reference_log_probs": None}, r"kl_penalty=k3 needs reference_log_probs: it is None, expected \[N, T\]"),
        ({"entropy": None}, r"entropy_coefficient=0.1 needs entropy: it is None, expected \[N, T\]"),
        ({"weights": torch.ones(1, 2)}, r"PolicyObjective: weights has shape \[1, 2\], expected \[1, 3\], as log_probs has"),
        ({"advantages": torch.ones(2)}, r"PolicyObjective: advantages has shape \[2\], expected \[1, 3\]"),
        ({"mask": torch.ones(1, 3)}, r"PolicyObjective: mask has dtype torch.float32, expected torch.bool"),
    ],
)
def test_errors_name_what_is_wrong(step, change, message):
    with pytest.raises(ValueError, match=message):
        compose(kl_penalty=K3(), entropy_coefficient=0.1)(**{**step, **change})


ROWS, TOKENS = 6, 5
STEP_WIDE = {"clip_cov": {"fraction": 0.3, "omega_low": 0.0}, "kl_cov": {"fraction": 0.3}}


@pytest.mark.parametrize("clip_name", registry.names("clip_strategy"))
@pytest.mark.parametrize("aggregator_name", registry.names("loss_aggregator"))
def test_micro_batches_add_up_to_the_step(clip_name, aggregator_name):
    generator = torch.Generator().manual_seed(0)

    def random():
        return torch.randn(ROWS, TOKENS, generator=generator, dtype=torch.float64)

    objective = compose(
        clip_strategy=registry.build("clip_strategy", clip_name, **STEP_WIDE.get(clip_name, {})),
        loss_aggregator=registry.build("loss_aggregator", aggregator_name),
        kl_penalty=K3(),
        importance_correction=registry.build("importance_correction", "sequence_tis"),
    )
    mask = torch.arange(TOKENS) < torch.tensor([5, 2, 0, 3, 1, 4])[:, None]
    log_probs = (0.3 * random() - 2).requires_grad_()
    batch = {
        "old_log_probs": log_probs.detach() + 0.3 * random(),
        "rollout_log_probs": 0.1 * random() - 2,
        "reference_log_probs": 0.3 * random() - 2,
        "advantages": random()[:, :1].expand(-1, TOKENS),
        "mask": mask,
        "weights": objective.loss_aggregator.weights(mask, Totals.of(mask, torch.tensor([0, 0, 1, 1, 2, 2]))),
    }
    if objective.clip_strategy.scope == "step":
        arguments = (log_probs, batch["old_log_probs"], batch["advantages"], mask)
        batch["selected"] = objective.clip_strategy.select(*arguments)

    def run(*parts):
        outputs = [objective(log_probs=log_probs[rows], **{k: v[rows] for k, v in batch.items()}) for rows in parts]
        loss = sum(output.loss for output in outputs)
        sums = {k: sum(output.sums[k] for output in outputs) for k in outputs[0].sums}
        maxima = {k: max(output.maxima[k] for output in outputs) for k in outputs[0].maxima}
        return torch.autograd.grad(loss, log_probs)[0], sums | maxima

    gradient, metrics = run(torch.arange(ROWS))
    split_gradient, split_metrics = run(torch.tensor([4, 0, 2]), torch.tensor([1]), torch.tensor([5, 3]))
    assert gradient.abs().sum() > 0
    torch.testing.assert_close(split_gradient, gradient, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(split_metrics, metrics, rtol=1e-12, atol=1e-12)


def test_a_selection_reaches_the_clip_strategy(step):
    # the second token is dropped, the first has -r A = -2: -2 / 2
    selected = torch.tensor([[False, True, False]])
    assert compose(clip_strategy=ClipCov())(**step, selected=selected).loss.item() == pytest.approx(-1.0)


def test_compiles_without_a_graph_break(step):
    objective = compose(kl_penalty=K3(), importance_correction=TIS(), entropy_coefficient=0.1)
    compiled = torch.compile(lambda **step: objective(**step), fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(**step), objective(**step))


@pytest.mark.skipif(shutil.which("g++") is None, reason="inductor needs a C++ compiler")
def test_compiles_to_native_code(step):
    compiled = torch.compile(lambda **step: compose()(**step).loss, fullgraph=True)
    torch.testing.assert_close(compiled(**step), compose()(**step).loss)
