"""The one backward edge: after the updates of a rollout step the new weights go to the engine, and the copy is checked."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import lightning as L
import torch
from tensordict import TensorDict
from torch import Tensor

from rltoolkit.rollout_batch import row_lengths
from rltoolkit.rollout_engine._parity import require_parity
from rltoolkit.rollout_engine.base import RolloutEngine
from rltoolkit.training.data import rollout_data
from rltoolkit.training.policy_module import PolicyModule

PROBE_SEQUENCES = 1
PROBE_TOKENS = 48


class WeightSync(L.Callback):
    """Sends the weights when a rollout step's last mini-batch is done, in memory, and compares log-probs on a probe.

    Args:
        tolerance: largest accepted mean difference of a log-prob between engine and trainer.
    """

    def __init__(self, tolerance: float) -> None:
        self.tolerance = tolerance
        self.probe: list[list[int]] = []
        self.metrics: dict[str, float] = {}

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """A resumed run starts with the engine on the model's files: give it the weights of the checkpoint."""
        data = rollout_data(trainer)
        assert isinstance(pl_module, PolicyModule)
        if trainer.global_step:
            self.sync(data.collector.engine, pl_module, data.collector.rollout_step)

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        """What was measured belongs to the mini-batch before."""
        self.metrics = {}

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        """Sync once the rollout step's mini-batches are used up."""
        data = rollout_data(trainer)
        assert isinstance(pl_module, PolicyModule)
        if data.rollout_step_finished:
            self.sync(data.collector.engine, pl_module, data.collector.rollout_step)

    def state_dict(self) -> dict[str, Any]:
        """The probe: a continued run makes the same check."""
        return {"probe": self.probe}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the probe over."""
        self.probe = state_dict["probe"]

    def sync(self, engine: RolloutEngine, module: PolicyModule, version: int) -> None:
        """Send, then check. Raises StaleWeights when the copy differs."""
        start = time.perf_counter()
        engine.update_weights(module.full_weights(), version)
        self.metrics = {"seconds_sync": time.perf_counter() - start}
        if self.probe:
            theirs, ours = engine.log_probs(self.probe), probe_log_probs(module, self.probe)
            gap = require_parity(theirs, ours, tolerance=self.tolerance, version=version)
            self.metrics |= {"sync_gap": gap.mean, "sync_gap_max": gap.largest}
            self.metrics["seconds_parity"] = time.perf_counter() - start - self.metrics["seconds_sync"]

    def remember_probe(self, rollouts: TensorDict) -> None:
        """Take a few rows of a new rollout step [P, G], cut short, for the next check."""
        rows = rollouts.select("input_ids", "response_mask")[:PROBE_SEQUENCES, 0]
        lengths = row_lengths(rows).clamp(max=PROBE_TOKENS).tolist()
        self.probe = [tokens[:length] for tokens, length in zip(rows["input_ids"].tolist(), lengths, strict=True)]


@torch.no_grad()
def probe_log_probs(module: PolicyModule, sequences: Sequence[Sequence[int]]) -> list[Tensor]:
    """The trainer's log-probs of every token but the first, at temperature 1; a collective under FSDP."""
    longest = max(map(len, sequences))
    input_ids = torch.tensor([[*tokens, *[0] * (longest - len(tokens))] for tokens in sequences], device=module.device)
    mask = torch.arange(longest, device=module.device) < torch.tensor(
        [[len(tokens)] for tokens in sequences], device=module.device
    )
    mask[:, 0] = False
    log_probs = module.policy(input_ids, mask, 1.0).log_probs
    return [row[1 : len(tokens)] for row, tokens in zip(log_probs, sequences, strict=True)]
