"""What a run writes down while it trains: one row of metrics for each optimizer step."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning as L
import torch
from tensordict import TensorDict

from rltoolkit.collector import CollectedStep
from rltoolkit.task.base import Task
from rltoolkit.training.csv_table import CsvTable
from rltoolkit.training.metrics import rollout_metrics
from rltoolkit.training.styles import style_metrics


class RunLog:
    """Writes metrics.csv, and hands the same metrics to Lightning's loggers (wandb, TensorBoard, trackio).

    Args:
        folder: the run's folder.
        reflection_phrases: counted in the responses.
        task: tells styles of answering apart, where it knows some.

    ``seconds`` is the time of training so far, without start, evaluations and checkpoints. It is the sum of ``seconds_waiting``
    and ``seconds_score``, once for each rollout step, and of ``seconds_update``, ``seconds_sync`` and ``seconds_parity`` of every row.
    ``seconds_verification`` is the part of ``seconds_generation`` in which the first process waited for the reward function.
    """

    def __init__(self, folder: Path, *, reflection_phrases: Sequence[str] = (), task: Task | None = None) -> None:
        self.folder = folder
        self.reflection_phrases = reflection_phrases
        self.task = task
        self.seconds = 0.0
        self.generated_tokens = 0
        self.latest: dict[str, float] = {}
        """the last row"""
        self._rollout_metrics: dict[str, float] = {}
        self._table: CsvTable | None = None  # on the first process
        self._update_started: float | None = None

    def open(self, *, optimizer_step: int, rollout_step: int) -> None:
        """Begin to write; a continued run drops the rows that it will make again. For the first process alone."""
        self._table = CsvTable(
            self.folder / "metrics.csv",
            lambda row: int(row["optimizer_step"]) <= optimizer_step and int(row["rollout_step"]) <= rollout_step,
        )

    def collected(self, step: CollectedStep, rollout_step: int, prompt_metrics: Mapping[str, float]) -> None:
        """Take the metrics of a new rollout step; its rows of metrics.csv all carry them."""
        self.generated_tokens += step.counters.generated_tokens
        metrics = {**rollout_metrics(step, rollout_step - 1, self.reflection_phrases), **prompt_metrics}
        if self.task is not None:
            metrics |= style_metrics(self.task, step.sampled)
        metrics["rollout_step"] = rollout_step
        metrics["generated_tokens_total"] = self.generated_tokens
        metrics["seconds_generation"] = step.seconds
        metrics["seconds_waiting"] = step.seconds_waited
        metrics["seconds_verification"] = step.seconds_verification
        metrics["tokens_per_second_generation"] = step.counters.generated_tokens / max(step.seconds, 1e-9)
        metrics["seconds_score"] = 0.0
        self._rollout_metrics = metrics
        self.seconds += step.seconds_waited

    @contextmanager
    def scoring(self) -> Iterator[None]:
        """Times what happens inside as the scoring of the rollout step that was collected last."""
        start = time.perf_counter()
        yield
        self._update_started = time.perf_counter()  # cutting mini-batches counts as part of the first update
        self._rollout_metrics["seconds_score"] = self._update_started - start
        self.seconds += self._rollout_metrics["seconds_score"]

    def start_update(self) -> None:
        """Start timing an update. Evaluations and checkpoints are not timed."""
        if self._update_started is None:
            self._update_started = time.perf_counter()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """What happens inside is no part of the update; the next rollout step counts it as ``seconds_waiting``."""
        start = time.perf_counter()
        yield
        assert self._update_started is not None
        self._update_started += time.perf_counter() - start

    def optimizer_step(
        self, trainer: L.Trainer, batch: TensorDict, step_metrics: Mapping[str, float], sync_metrics: Mapping[str, float]
    ) -> None:
        """One row of metrics.csv."""
        assert self._update_started is not None
        elapsed, self._update_started = time.perf_counter() - self._update_started, None
        self.seconds += elapsed
        update = elapsed - sync_metrics.get("seconds_sync", 0.0) - sync_metrics.get("seconds_parity", 0.0)
        row: dict[str, float] = {"optimizer_step": trainer.global_step, **self._rollout_metrics, "seconds": self.seconds}
        row |= {"seconds_update": update, "tokens_per_second_update": int(batch["loss_mask"].sum()) / max(update, 1e-9)}
        row |= {**step_metrics, "peak_memory_gib": peak_memory_gib(), **sync_metrics}
        self.latest = row
        if self._table is not None:
            self._table.append({name: f"{value:.6g}" if isinstance(value, float) else value for name, value in row.items()})
        for logger in trainer.loggers:
            logger.log_metrics(row, step=trainer.global_step)

    def state_dict(self) -> dict[str, Any]:
        """Running totals and the metrics of the current rollout step."""
        return {"seconds": self.seconds, "generated_tokens": self.generated_tokens, "rollout": self._rollout_metrics}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue the totals."""
        self.seconds, self.generated_tokens = state_dict["seconds"], state_dict["generated_tokens"]
        self._rollout_metrics = state_dict["rollout"]


def peak_memory_gib() -> float:
    """The most memory held so far: of the GPU where there is one, else of this process (an engine in it included)."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # Linux counts in KiB
