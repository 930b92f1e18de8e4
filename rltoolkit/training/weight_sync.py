"""The one backward edge: after the updates of a rollout step the new weights go to the engine, and the copy is checked."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from tensordict import TensorDict
from torch import Tensor

from rltoolkit.rollout_batch import row_lengths
from rltoolkit.rollout_engine import RolloutEngine
from rltoolkit.rollout_engine._parity import Movement, parity_gap, require_common_movement, require_parity
from rltoolkit.training.policy_module import PolicyModule

PROBE_TOKENS = 48
PROBE_MOVEMENT = 0.1
"""nats after which a probe has served: the next rollout step gives a new one"""


class Probe(NamedTuple):
    """A row of tokens, and its log-probs on either side when they were first measured."""

    tokens: list[int]
    engine: list[Tensor]
    trainer: list[Tensor]


class WeightSync:
    """Sends weights to the engine, in memory, and compares log-probs on a probe.

    Args:
        tolerance: largest accepted mean difference of a log-prob between engine and trainer.
    """

    def __init__(self, tolerance: float) -> None:
        self.tolerance = tolerance
        self.metrics: dict[str, float] = {}
        """of the last sync, until ``forget``"""
        self.sent_at = 0
        """the optimizer step whose weights the engine holds"""
        self._candidate: list[int] = []
        self._probe: Probe | None = None

    def send(self, engine: RolloutEngine, module: PolicyModule, *, version: int, optimizer_step: int) -> None:
        """Send, then check; a collective. Raises StaleWeights when the engine does not hold the weights that were trained."""
        start = time.perf_counter()
        engine.update_weights(module.full_weights(), version)
        self.sent_at = optimizer_step
        self.metrics = {"seconds_sync": time.perf_counter() - start}
        if self._probe is not None or self._candidate:
            self.metrics |= self._check(engine, module, version)
            self.metrics["seconds_parity"] = time.perf_counter() - start - self.metrics["seconds_sync"]

    def send_again(self, engine: RolloutEngine, module: PolicyModule, *, version: int, optimizer_step: int) -> None:
        """The same for the engine of a continued run, which starts on the model's files. The probe stays that of the checkpoint: an
        uninterrupted run has no such sync, and would check later ones on another probe."""
        state = self.state_dict()
        self.send(engine, module, version=version, optimizer_step=optimizer_step)
        self.load_state_dict(state)

    def forget(self) -> None:
        """Forget the previous mini-batch's measurements."""
        self.metrics = {}

    def remember_probe(self, rollouts: TensorDict) -> None:
        """Keep a row of a new rollout step [P, G], cut short, in case a new probe is needed."""
        row = rollouts.select("input_ids", "response_mask")[:1, 0]
        length = int(row_lengths(row).clamp(max=PROBE_TOKENS))
        self._candidate = row["input_ids"][0, :length].tolist()

    def state_dict(self) -> dict[str, Any]:
        """The probe: a continued run makes the same checks."""
        return {"candidate": self._candidate, "probe": None if self._probe is None else tuple(self._probe)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the probe over."""
        self._candidate = state_dict["candidate"]
        self._probe = None if state_dict["probe"] is None else Probe(*state_dict["probe"])

    def _check(self, engine: RolloutEngine, module: PolicyModule, version: int) -> dict[str, float]:
        tokens = self._candidate if self._probe is None else self._probe.tokens
        copies, ours = engine_log_probs(engine, tokens), probe_log_probs(module, [tokens])
        gaps = [
            require_parity([theirs], ours, tolerance=self.tolerance, version=version, engine=name)
            for name, theirs in copies.items()
        ]
        if self._probe is None:
            self._probe = Probe(tokens, [next(iter(copies.values()))], [each.cpu() for each in ours])
        moved = parity_gap(ours, self._probe.trainer).mean
        for name, theirs in copies.items():
            require_common_movement(Movement(parity_gap([theirs], self._probe.engine).mean, moved), version=version, engine=name)
        if moved > PROBE_MOVEMENT:
            self._probe = None
        return {
            "sync_gap": max(gap.mean for gap in gaps),
            "sync_gap_max": max(gap.largest for gap in gaps),
            "policy_movement": moved,
        }


def engine_log_probs(engine: RolloutEngine, tokens: Sequence[int]) -> dict[str, Tensor]:
    """The engine's log-probs of a sequence, by what holds the weights: the engine, or each server where they are several."""
    if hasattr(engine, "log_probs_of_each"):
        return engine.log_probs_of_each(tokens)
    return {"the rollout engine": engine.log_probs([tokens])[0]}


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
