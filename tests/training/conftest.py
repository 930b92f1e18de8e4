"""A run small enough for a unit test, and real optimizer steps under a real trainer."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from torch.utils.data import DataLoader

import rltoolkit
from rltoolkit.reward_function.base import Verdict, verdict
from rltoolkit.run.run import Run
from rltoolkit.training.strategy import ShardedStrategy

TINY = [
    "+experiment=grpo", "rollout_engine=transformers", "trainer.accelerator=cpu",
    "model.skill_steps=0", "model.habit_steps=0", "model.hidden_size=16", "model.num_layers=1", "model.intermediate_size=16",
    "task.max_operands=2", "task.max_operand=9", "task.eval_size=4", "sampling.max_new_tokens=6", "evaluation.max_new_tokens=6",
    "prompts_per_step=4", "group_size=2", "mini_batch_size=4", "evaluation.problems=4", "evaluation.k=2", "evaluation.every=0",
    "optimizer.warmup_optimizer_steps=0",
]  # fmt: skip
"""4 prompts x 2 responses in mini-batches of 4: two optimizer steps a rollout step. The model is a random one, made in no time."""


class EvenLength:
    """Right is what has an even number of characters: a random model's responses get both verdicts. No base class, no dataclass."""

    def __call__(self, texts: list[str], answers: list[str]) -> Verdict:
        return verdict(len(text) % 2 == 0 for text in texts)

    def extract(self, text: str) -> str | None:
        return str(len(text))


@pytest.fixture(scope="session")
def model_cache(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture
def tiny_run(model_cache, monkeypatch) -> Callable[..., Run]:
    """``tiny_run(*overrides)``, with a reward that differs within groups."""
    monkeypatch.setenv("RLTOOLKIT_CACHE", str(model_cache))

    def make(*overrides: str) -> Run:
        return rltoolkit.load(*TINY, *overrides).replace(reward_function=EvenLength())

    return make


class Weight(L.LightningModule):
    """Four numbers, trained towards 1 by Adam at a learning rate of 0.1: after step n each is 0.1 n away from where it began."""

    def __init__(self, start: float) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.weight = torch.nn.Parameter(torch.full((4,), start))

    def configure_model(self) -> None:
        """The strategy insists on it; one rank has nothing to shard."""

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=0.1)

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> None:
        optimizer = self.optimizers()
        optimizer.zero_grad()
        self.manual_backward(-self.weight.sum())
        optimizer.step()


class Script(L.Callback):
    """Calls ``at[n](trainer)`` after optimizer step n, n = 0 being the start."""

    def __init__(self, at: dict[int, Callable[[L.Trainer], None]]) -> None:
        self.at = at

    def on_train_start(self, trainer, pl_module):
        self._do(trainer)

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self._do(trainer)

    def _do(self, trainer: L.Trainer) -> None:
        self.at.get(trainer.global_step, lambda trainer: None)(trainer)


@pytest.fixture
def fit(process_group) -> Callable[..., Weight]:
    """``fit({2: save}, steps=3)``: three optimizer steps under the strategy of all runs; ``save(trainer)`` after the second."""

    def run(
        at: dict[int, Callable[[L.Trainer], None]], *, steps: int, start: float = 0.0, checkpoint: Path | None = None
    ) -> Weight:
        module = Weight(start)
        trainer = L.Trainer(
            accelerator="cpu", devices=1, max_steps=steps, callbacks=[Script(at)], logger=False, enable_checkpointing=False,
            strategy=ShardedStrategy(data_parallel_size=1, tensor_parallel_size=1, process_group_backend="gloo"),
            enable_progress_bar=False, enable_model_summary=False, use_distributed_sampler=False,
        )  # fmt: skip
        trainer.fit(module, DataLoader(torch.zeros(steps)), ckpt_path=checkpoint)
        return module

    return run


@pytest.fixture(scope="session")
def two_ranks() -> dict[str, list[Any]]:
    """What the two processes of two_ranks.py say of each scenario."""
    script = Path(__file__).with_name("two_ranks.py")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run([*torchrun, script], capture_output=True, text=True, check=False, timeout=180)
    assert done.returncode == 0, done.stdout + done.stderr
    said = sorted(json.loads(line) for line in done.stdout.splitlines() if line.startswith("["))
    return {scenario: [answers[scenario] for _, answers in said] for scenario in said[0][1]}
