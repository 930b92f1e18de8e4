"""What every component of the four objective kinds promises, plug-ins included."""

import pytest
import torch

from rltoolkit import registry
from rltoolkit.loss_aggregator import Totals

CLIPS = registry.names("clip_strategy")
AGGREGATORS = registry.names("loss_aggregator")
PENALTIES = registry.names("kl_penalty")
CORRECTIONS = registry.names("importance_correction")

HYPERPARAMETERS = {
    # by default these two select no token of so small a step
    "clip_cov": {"fraction": 0.3, "omega_low": 0.0},
    "kl_cov": {"fraction": 0.3},
    # and these two would drop every row, or none
    "geometric_mask": {"low": 0.9, "high": 1.2},
    "sequence_error_mask": {"threshold": 1.4},
}

N, T = 6, 5
MASK = torch.tensor([[1, 1, 1, 1, 1], [0, 1, 1, 0, 0], [0, 0, 0, 0, 0], [1, 0, 1, 1, 0], [0, 0, 0, 0, 1], [1, 1, 1, 0, 0]]).bool()
GROUPS = torch.tensor([0, 0, 1, 1, 2, 2])
EXACT = {"rtol": 1e-12, "atol": 1e-12}


def random(seed, scale=1.0, dtype=torch.float64):
    return scale * torch.randn(N, T, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def garbage(tensor, mask=MASK):
    """The same where the mask is True; nan, inf and -inf in turn elsewhere."""
    bad = torch.tensor([torch.nan, torch.inf, -torch.inf], dtype=tensor.dtype)
    return torch.where(mask, tensor, bad.repeat(tensor.numel())[: tensor.numel()].view_as(tensor))


def padded(tensor):
    """Three more columns: False in a mask, nan elsewhere."""
    filler = False if tensor.dtype == torch.bool else torch.nan
    return torch.nn.functional.pad(tensor, (0, 3), value=filler)


def compile(function):
    """Without a graph break, and forgetting what was compiled before: torch stops after eight variants of a function."""
    torch.compiler.reset()
    return torch.compile(function, fullgraph=True, backend="eager")


# --- clip strategies -----------------------------------------------------------------------------------------------------


def clip(name):
    return registry.build("clip_strategy", name, **HYPERPARAMETERS.get(name, {}))


def clip_inputs(dtype=torch.float64):
    """log_probs, old_log_probs, advantages, mask."""
    old_log_probs = random(0, 0.3, dtype) - 2
    advantages = random(1, dtype=dtype)[:, :1].expand(N, T).contiguous()
    return old_log_probs + random(2, 0.5, dtype), old_log_probs, advantages, MASK


def clip_outcome(strategy, inputs, **keywords):
    """The loss, the marks and the gradient of the summed loss."""
    log_probs = inputs[0].detach().requires_grad_()
    result = strategy(log_probs, *inputs[1:], **keywords)
    (gradient,) = torch.autograd.grad(result.loss.sum(), log_probs)
    return (*result, gradient)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", CLIPS)
def test_clip_shape_dtype_finite(name, dtype):
    loss, low, high, gradient = clip_outcome(clip(name), clip_inputs(dtype))
    assert loss.shape == low.shape == high.shape == (N, T)
    assert loss.dtype == dtype
    assert low.dtype == high.dtype == torch.bool
    assert loss.isfinite().all()
    assert gradient.isfinite().all()
    assert not (low & high).any()


@pytest.mark.parametrize("name", CLIPS)
def test_clip_never_looks_under_the_mask(name):
    log_probs, old_log_probs, advantages, mask = clip_inputs()
    expected = clip_outcome(clip(name), (log_probs, old_log_probs, advantages, mask))
    actual = clip_outcome(clip(name), (garbage(log_probs), garbage(old_log_probs), garbage(advantages), mask))
    assert all((tensor[~mask] == 0).all() for tensor in actual)
    torch.testing.assert_close(actual, expected, **EXACT)
    assert (actual[-1][mask] != 0).any()


@pytest.mark.parametrize("name", CLIPS)
def test_clip_ignores_padding(name):
    inputs = clip_inputs()
    wide = clip_outcome(clip(name), tuple(padded(tensor) for tensor in inputs))
    torch.testing.assert_close(tuple(x[:, :T] for x in wide), clip_outcome(clip(name), inputs), **EXACT)


@pytest.mark.parametrize("name", CLIPS)
def test_clip_ignores_the_order_of_rows(name):
    order, inputs = torch.tensor([3, 5, 0, 2, 4, 1]), clip_inputs()
    permuted = clip_outcome(clip(name), tuple(tensor[order] for tensor in inputs))
    torch.testing.assert_close(permuted, tuple(x[order] for x in clip_outcome(clip(name), inputs)), **EXACT)


@pytest.mark.parametrize("name", CLIPS)
def test_clip_of_a_part_is_the_part_of_the_clip(name):
    strategy, inputs, rows = clip(name), clip_inputs(), torch.tensor([4, 0, 3])
    selected = {"selected": strategy.select(*inputs)[rows]} if strategy.scope == "step" else {}
    part = clip_outcome(strategy, tuple(tensor[rows] for tensor in inputs), **selected)
    torch.testing.assert_close(part, tuple(x[rows] for x in clip_outcome(strategy, inputs)), **EXACT)


@pytest.mark.parametrize("name", CLIPS)
def test_clip_says_what_it_depends_on(name):
    """A strategy of scope "token" gives a token the same loss without the rest of its row."""
    strategy = clip(name)
    assert strategy.scope in ("token", "row", "step")
    assert hasattr(strategy, "select") == (strategy.scope == "step")
    if strategy.scope == "token":
        whole = clip_outcome(strategy, clip_inputs())
        column = clip_outcome(strategy, tuple(tensor[:, 1:2] for tensor in clip_inputs()))
        torch.testing.assert_close(column, tuple(x[:, 1:2] for x in whole), **EXACT)


@pytest.mark.parametrize("name", CLIPS)
def test_clip_without_a_trained_token(name):
    log_probs, old_log_probs, advantages, mask = clip_inputs()
    nothing = torch.zeros_like(mask)
    inputs = (garbage(log_probs, nothing), garbage(old_log_probs, nothing), garbage(advantages, nothing), nothing)
    assert all((tensor == 0).all() for tensor in clip_outcome(clip(name), inputs))


@pytest.mark.parametrize("name", CLIPS)
def test_clip_leaves_its_inputs_alone(name):
    inputs = clip_inputs()
    clip_outcome(clip(name), inputs)
    torch.testing.assert_close(inputs, clip_inputs(), rtol=0, atol=0)


@pytest.mark.parametrize("name", CLIPS)
@pytest.mark.parametrize(
    ("position", "change", "message"),
    [
        (0, lambda x: x[0], r"log_probs has shape \[5\], expected \[N, T\]"),
        (1, lambda x: x[:, :3], r"old_log_probs has shape \[6, 3\], expected \[6, 5\], as log_probs has"),
        (2, lambda x: x[:, 0], r"advantages has shape \[6\], expected \[6, 5\]"),
        (3, lambda x: x.float(), r"mask has dtype torch.float32, expected torch.bool"),
    ],
)
def test_clip_names_what_is_wrong(name, position, change, message):
    inputs = list(clip_inputs())
    inputs[position] = change(inputs[position])
    with pytest.raises(ValueError, match=rf"clip_strategy={name}: {message}"):
        clip(name)(*inputs)


@pytest.mark.parametrize("name", CLIPS)
def test_clip_compiles(name):
    strategy = clip(name)
    compiled = compile(lambda *inputs: strategy(*inputs))
    torch.testing.assert_close(clip_outcome(compiled, clip_inputs()), clip_outcome(strategy, clip_inputs()), **EXACT)


# --- loss aggregators ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", AGGREGATORS)
def test_aggregator_weighs_trained_tokens_only(name):
    weights = registry.build("loss_aggregator", name).weights(MASK, Totals.of(MASK, GROUPS))
    assert weights.shape == (N, T)
    assert weights.dtype == torch.float64
    assert (weights[MASK] > 0).all()
    assert (weights[~MASK] == 0).all()


@pytest.mark.parametrize("name", AGGREGATORS)
def test_aggregator_ignores_padding_and_the_order_of_rows(name):
    aggregator, order = registry.build("loss_aggregator", name), torch.tensor([3, 5, 0, 2, 4, 1])
    weights = aggregator.weights(MASK, Totals.of(MASK, GROUPS))
    wide = aggregator.weights(padded(MASK), Totals.of(padded(MASK), GROUPS))
    permuted = aggregator.weights(MASK[order], Totals.of(MASK[order], GROUPS[order]))
    torch.testing.assert_close(wide[:, :T], weights, **EXACT)
    torch.testing.assert_close(permuted, weights[order], **EXACT)


@pytest.mark.parametrize("name", AGGREGATORS)
def test_aggregator_of_a_part_is_the_part_of_the_weights(name):
    aggregator, rows = registry.build("loss_aggregator", name), torch.tensor([4, 0, 3])
    totals = Totals.of(MASK, GROUPS)
    part = aggregator.weights(MASK[rows], totals.select(rows))
    torch.testing.assert_close(part, aggregator.weights(MASK, totals)[rows], **EXACT)


@pytest.mark.parametrize("name", AGGREGATORS)
def test_aggregator_never_looks_under_the_mask(name):
    aggregator, loss = registry.build("loss_aggregator", name), random(3).requires_grad_()
    value = aggregator(garbage(loss), MASK, GROUPS)
    (gradient,) = torch.autograd.grad(value, loss)
    torch.testing.assert_close(value, aggregator(loss, MASK, GROUPS), **EXACT)
    torch.testing.assert_close(gradient, aggregator.weights(MASK, Totals.of(MASK, GROUPS)), **EXACT)
    assert aggregator(garbage(loss), torch.zeros_like(MASK), GROUPS).item() == 0


@pytest.mark.parametrize("name", AGGREGATORS)
def test_aggregator_names_what_is_wrong(name):
    aggregator = registry.build("loss_aggregator", name)
    with pytest.raises(ValueError, match=rf"loss_aggregator={name}: mask has shape \[6, 4\], expected \[6, 5\]"):
        aggregator(random(3), MASK[:, :4], GROUPS)
    with pytest.raises(ValueError, match=rf"loss_aggregator={name}: mask has dtype torch.float64, expected torch.bool"):
        aggregator.weights(MASK.double(), Totals.of(MASK, GROUPS))


@pytest.mark.parametrize("name", AGGREGATORS)
def test_aggregator_compiles(name):
    aggregator, totals = registry.build("loss_aggregator", name), Totals.of(MASK, GROUPS)
    compiled = compile(lambda *inputs: aggregator.weights(*inputs, totals))
    torch.testing.assert_close(compiled(MASK), aggregator.weights(MASK, totals), **EXACT)


# --- KL penalties --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", PENALTIES)
def test_penalty_is_elementwise_and_zero_at_the_reference(name, dtype):
    penalty, log_probs, reference = registry.build("kl_penalty", name), random(0, 0.3, dtype) - 2, random(1, 0.3, dtype) - 2
    values = penalty(log_probs, reference)
    assert values.shape == (N, T)
    assert values.dtype == dtype
    assert values.isfinite().all()
    assert (penalty(log_probs, log_probs) == 0).all()
    torch.testing.assert_close(penalty(log_probs[:2, 1:], reference[:2, 1:]), values[:2, 1:], rtol=0, atol=0)
    torch.testing.assert_close(log_probs, random(0, 0.3, dtype) - 2, rtol=0, atol=0)
    assert penalty.coefficient >= 0


@pytest.mark.parametrize("name", [name for name in PENALTIES if registry.get("kl_penalty", name).reference])
def test_penalty_has_the_derivative_of_its_value_and_names_what_is_wrong(name):
    penalty, reference = registry.build("kl_penalty", name), random(1, 0.3) - 2
    assert torch.autograd.gradcheck(lambda x: penalty(x, reference), (random(0, 0.3) - 2).requires_grad_())
    with pytest.raises(ValueError, match=rf"kl_penalty={name}: reference_log_probs has shape \[6, 4\], expected \[6, 5\]"):
        penalty(reference, reference[:, :4])


@pytest.mark.parametrize("name", PENALTIES)
def test_penalty_compiles(name):
    penalty, inputs = registry.build("kl_penalty", name), (random(0, 0.3), random(1, 0.3))
    compiled = compile(lambda *inputs: penalty(*inputs))
    torch.testing.assert_close(compiled(*inputs), penalty(*inputs), **EXACT)


# --- importance corrections ----------------------------------------------------------------------------------------------


def build(name):
    return registry.build("importance_correction", name, **HYPERPARAMETERS.get(name, {}))


def correction_inputs(dtype=torch.float64):
    """old_log_probs, rollout_log_probs, mask."""
    return random(0, 0.3, dtype) - 2, random(1, 0.3, dtype) - 2, MASK


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", CORRECTIONS)
def test_correction_is_a_weight_without_gradient(name, dtype):
    old_log_probs, rollout_log_probs, mask = correction_inputs(dtype)
    weights = build(name)(old_log_probs.requires_grad_(), rollout_log_probs, mask)
    assert weights.shape == (N, T)
    assert weights.dtype == dtype
    assert not weights.requires_grad
    assert (weights >= 0).all()
    assert weights.isfinite().all()
    torch.testing.assert_close((old_log_probs.detach(), rollout_log_probs), correction_inputs(dtype)[:2], rtol=0, atol=0)


@pytest.mark.parametrize("name", CORRECTIONS)
def test_correction_is_one_where_sampler_and_trainer_agree(name):
    log_probs, _, mask = correction_inputs()
    weights = build(name)(log_probs, log_probs, mask)
    torch.testing.assert_close(weights, mask.double(), **EXACT)


@pytest.mark.parametrize("name", CORRECTIONS)
def test_correction_never_looks_under_the_mask(name):
    correction, (old_log_probs, rollout_log_probs, mask) = build(name), correction_inputs()
    weights = correction(garbage(old_log_probs), garbage(rollout_log_probs), mask)
    assert (weights[~mask] == 0).all()
    assert name == "none" or weights[mask].unique().numel() > 1  # the step has tokens that it tells apart
    torch.testing.assert_close(weights, correction(old_log_probs, rollout_log_probs, mask), **EXACT)


@pytest.mark.parametrize("name", CORRECTIONS)
def test_correction_ignores_padding_order_and_split(name):
    correction, inputs, rows = build(name), correction_inputs(), torch.tensor([4, 0, 3])
    weights = correction(*inputs)
    torch.testing.assert_close(correction(*(padded(tensor) for tensor in inputs))[:, :T], weights, **EXACT)
    torch.testing.assert_close(correction(*(tensor[rows] for tensor in inputs)), weights[rows], **EXACT)


@pytest.mark.parametrize("name", CORRECTIONS)
def test_correction_names_what_is_wrong(name):
    old_log_probs, rollout_log_probs, mask = correction_inputs()
    message = rf"importance_correction={name}: rollout_log_probs has shape \[5, 5\], expected \[6, 5\]"
    with pytest.raises(ValueError, match=message):
        build(name)(old_log_probs, rollout_log_probs[1:], mask)


@pytest.mark.parametrize("name", CORRECTIONS)
def test_correction_compiles(name):
    correction = build(name)
    compiled = compile(lambda *inputs: correction(*inputs))
    torch.testing.assert_close(compiled(*correction_inputs()), correction(*correction_inputs()), **EXACT)
