"""An optimizer step has one gradient, however it is computed: any layout, any split into micro-batches, any number of ranks."""

import importlib.util
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


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-10), ("float32", 1e-5)])
@pytest.mark.parametrize("devices", [1, 2])
def test_every_way_gives_the_plain_gradient(devices, dtype, tolerance, tmp_path):
    out = tmp_path / "gradients.pt"
    command = [sys.executable, str(SCRIPT), str(out), "--devices", str(devices), "--dtype", dtype]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]

    plain = plain_gradients(getattr(torch, dtype))
    ways = torch.load(out)
    assert len(ways) == len(case.aggregators()) * 3 * 3
    for (aggregator, layout, budget), gradients in ways.items():
        theirs = torch.cat([plain[aggregator][name].flatten() for name in gradients])
        ours = torch.cat([gradient.flatten() for gradient in gradients.values()])
        error = float((ours - theirs).norm() / theirs.norm())
        assert error < tolerance, f"{aggregator}, {layout}, {budget}: relative error {error:.2g}"
