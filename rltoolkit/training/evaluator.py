"""Held-out evaluation before, during and after training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L

from rltoolkit.evaluation import Evaluation
from rltoolkit.rollout_engine.base import RolloutEngine
from rltoolkit.training.data import rollout_data
from rltoolkit.training.interrupts import Interrupts, StopRequested
from rltoolkit.training.run_log import CsvTable, RunLog

LOGGED = ("avg_at_k", "pass_at_k", "cons_at_k", "response_length", "truncated")


class Evaluator(L.Callback):
    """Evaluates at the start, every few rollout steps and at the end; rank 0's engine does the work.

    Args:
        folder: the run's folder; results go to evaluations.csv, one row each.
        every: rollout steps between two evaluations; 0 only evaluates at the end.
        run: makes one evaluation with the engine as it is now.
        log: running totals for the row.
        interrupts: lets Ctrl-C leave an evaluation.
        announce: told of each result.
    """

    def __init__(
        self,
        folder: Path,
        *,
        every: int,
        run: Callable[[RolloutEngine], Evaluation],
        log: RunLog,
        interrupts: Interrupts,
        announce: Callable[[int, Evaluation], None],
    ) -> None:
        self.folder = folder
        self.every = every
        self.run = run
        self.log_ = log
        self.interrupts = interrupts
        self.announce = announce
        self.best_step, self.best_accuracy = -1, -1.0
        """the optimizer step with the highest avg@k so far; the same on every rank"""
        self._table: CsvTable | None = None
        self._done_at = -1

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Where training starts from; a resumed run has that row already."""
        if trainer.is_global_zero:
            self._table = CsvTable(self.folder / "evaluations.csv", lambda row: int(row["optimizer_step"]) <= trainer.global_step)
            if self._table.rows:
                self._done_at = int(self._table.rows[-1]["optimizer_step"])
        if self.every and trainer.global_step == 0:
            self.evaluate(trainer)

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        """Evaluate at the end of every ``every``-th rollout step."""
        data = rollout_data(trainer)
        if self.every and data.rollout_step_finished and data.collector.rollout_step % self.every == 0:
            self.evaluate(trainer)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """The final result, unless training was interrupted."""
        if not self.interrupts.received:
            self.evaluate(trainer)

    def evaluate(self, trainer: L.Trainer) -> None:
        """Evaluate once for an optimizer step and write the row."""
        data, step = rollout_data(trainer), trainer.global_step
        if trainer.is_global_zero and step != self._done_at:
            try:
                with self.interrupts.leaving_at_once():
                    result = self.run(data.collector.engine)
            except StopRequested:
                return
            self._done_at = step
            totals = {"generated_tokens": self.log_.generated_tokens, "seconds": round(self.log_.seconds, 3)}
            row = {"optimizer_step": step, "rollout_step": data.collector.rollout_step, **totals, **result.row()}
            assert self._table is not None
            self._table.append(row)
            held_out = {f"eval/{name}": float(row[name]) for name in LOGGED}
            for logger in trainer.loggers:
                logger.log_metrics(held_out, step=step)
            self.announce(step, result)
            if result.avg_at_k.value > self.best_accuracy:
                self.best_step, self.best_accuracy = step, result.avg_at_k.value
        self.best_step, self.best_accuracy = trainer.strategy.broadcast((self.best_step, self.best_accuracy))

    def state_dict(self) -> dict[str, Any]:
        """The best result so far."""
        return {"best_step": self.best_step, "best_accuracy": self.best_accuracy}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on comparing with it."""
        self.best_step, self.best_accuracy = state_dict["best_step"], state_dict["best_accuracy"]
