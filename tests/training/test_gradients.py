"""An optimizer step has one gradient, however it is computed: any layout, any split into micro-batches, any number of ranks."""

import importlib.util
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from rltoolkit.loss_aggregator import Totals

SCRIPT = Path(__file__).with_name("gradients_of_a_step.py")
_spec = importlib.util.spec_from_file_location("gradients_of_a_step", SCRIPT)
case = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(case)


def plain_gradients(dtype: torch.dtype) -> dict[str, dict[str, torch.Tensor]]:
    """For each aggregator: full logits of all rows at once, one backward, no sharding."""
    model, rows = case.causal_lm(dtype), case.rollout_rows(dtype)
    mask = rows["loss_mask"]
    gradients = {}
    for name, aggregator in case.aggregators().items():
        logits = model(input_ids=rows["input_ids"], use_cache=False).logits[:, :-1] / case.TEMPERATURE
        distribution = torch.distributions.Categorical(logits=logits)
        log_probs = torch.nn.functional.pad(distribution.log_prob(rows["input_ids"][:, 1:]), (1, 0))
        loss = case.objective(aggregator)(
            log_probs=log_probs,
            old_log_probs=rows["old_log_probs"],
            advantages=rows["advantage"],
            mask=mask,
            weights=aggregator.weights(mask, Totals.of(mask, rows["group_index"])),
            rollout_log_probs=rows["rollout_log_probs"],
            entropy=torch.nn.functional.pad(distribution.entropy(), (1, 0)),
        ).loss
        model.zero_grad()
        loss.backward()
        gradients[name] = {parameter: tensor.grad.clone() for parameter, tensor in model.named_parameters()}
    return gradients


def gradients_in_every_way(out: Path, *arguments: str) -> tuple[dict, dict, dict]:
    """What the script finds: gradients of each way, weights, and the recorded tokens of each way."""
    done = subprocess.run([sys.executable, str(SCRIPT), str(out), *arguments], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return torch.load(out)


def require_equal(ways: dict, plain: dict, tolerance: float) -> None:
    """Every layout and every split into micro-batches, within a relative tolerance."""
    assert len(ways) == len(case.aggregators()) * 3 * 3
    for (aggregator, layout, budget), gradients in ways.items():
        theirs = torch.cat([plain[aggregator][name].flatten() for name in gradients])
        ours = torch.cat([gradient.flatten() for gradient in gradients.values()])
        error = float((ours - theirs).norm() / theirs.norm())
        assert error < tolerance, f"{aggregator}, {layout}, {budget}: relative error {error:.2g}"


def plain_tokens(dtype: torch.dtype) -> dict[int, dict[str, list[float | None]]]:
    """Ratio, entropy and clipping of the tokens of every second row, from full logits of all rows at once."""
    model, rows = case.causal_lm(dtype), case.rollout_rows(dtype)
    logits = model(input_ids=rows["input_ids"], use_cache=False).logits.detach()[:, :-1] / case.TEMPERATURE
    distribution = torch.distributions.Categorical(logits=logits)
    ratio = (distribution.log_prob(rows["input_ids"][:, 1:]) - rows["old_log_probs"][:, 1:]).exp()
    found = {}
    for row in range(0, len(rows), 2):
        places = (rows["response_mask"][row, 1:].nonzero().squeeze(-1)).tolist()
        trains = [bool(rows["loss_mask"][row, place + 1]) for place in places]
        ratios = [float(ratio[row, place]) for place in places]
        rises = bool(
            rows["advantage"][row] > 0
        )  # clip-higher: floor 0.8 where the advantage is negative, ceiling 1.28 where positive
        clipped = [int(rises and value > 1.28) - int(not rises and value < 0.8) for value in ratios]
        found[100 + row] = {
            "ratio": [value if train else None for value, train in zip(ratios, trains, strict=True)],
            "entropy": [
                float(distribution.entropy()[row, place]) if train else None for place, train in zip(places, trains, strict=True)
            ],
            "clipped": [value if train else 0 for value, train in zip(clipped, trains, strict=True)],
        }
    return found


def require_recorded(ways: dict, plain: dict) -> None:
    """Every layout, every split and any number of ranks record the same tokens."""
    assert {clip for row in plain.values() for clip in row["clipped"]} == {-1, 0, 1}
    assert None in plain[104]["ratio"]  # row 4 does not train
    for way, rows in ways.items():
        assert sorted(rows) == sorted(plain), way
        for row, tokens in rows.items():
            for name, values in plain[row].items():
                assert numbers(tokens[name]) == pytest.approx(numbers(values), rel=1e-4, nan_ok=True), (way, row, name)


def numbers(values: list[float | None]) -> list[float]:
    """Not a number where a token did not train."""
    return [math.nan if value is None else value for value in values]


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-10), ("float32", 1e-5)])
@pytest.mark.parametrize("devices", [1, 2])
def test_every_way_gives_the_plain_gradient(devices, dtype, tolerance, tmp_path):
    ways, _, tokens = gradients_in_every_way(tmp_path / "found.pt", "--devices", str(devices), "--dtype", dtype)
    require_equal(ways, plain_gradients(getattr(torch, dtype)), tolerance)
    require_recorded(tokens, plain_tokens(getattr(torch, dtype)))


@pytest.mark.parametrize("devices", [1, 2])
def test_in_bfloat16_gradients_are_rounded_and_master_weights_are_not(devices, tmp_path):
    arguments = ("--devices", str(devices), "--dtype", "float32", "--compute-dtype", "bfloat16")
    ways, weights, _ = gradients_in_every_way(tmp_path / "found.pt", *arguments)
    # bfloat16 has 8 significant bits: one rounding is wrong by up to 2**-9 = 0.2 %, and some tens of them follow upon each other
    require_equal(ways, plain_gradients(torch.float32), tolerance=0.05)
    original = case.causal_lm(torch.float32).state_dict()
    assert all(torch.equal(weight, original[name]) for name, weight in weights.items())
    assert weights
