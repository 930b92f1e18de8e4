"""The README's own code runs."""

import re
from pathlib import Path

import torch

README = (Path(__file__).parents[1] / "README.md").read_text()


def test_the_four_techniques_in_a_loop_of_ones_own(make_rollouts):
    (code,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    names: dict = {}
    exec(code, names)
    # group 0 is mixed and kept; group 1 is all wrong and filtered out
    rollouts = make_rollouts(reward=[[1.0, -1.0], [-1.0, -1.0]], response_length=[[2, 2], [3, 3]])
    level = torch.zeros((), requires_grad=True)
    loss = names["dapo_loss"](lambda input_ids: level - 0.5 + torch.zeros(input_ids.shape), rollouts)
    # ratios are 1, lengths equal, advantages +a and -a: the loss is 0 and so is its gradient for a shift of all log-probs
    loss.backward()
    assert loss.item() == 0.0
    assert level.grad.item() == 0.0


def test_importing_a_component_loads_no_framework():
    import subprocess
    import sys

    probe = "import sys, rltoolkit.clip_strategy, rltoolkit.loss_aggregator, rltoolkit.sampler_filter;"
    probe += "print([m for m in ('hydra', 'lightning', 'vllm', 'transformers') if m in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", probe], text=True).strip() == "[]"
