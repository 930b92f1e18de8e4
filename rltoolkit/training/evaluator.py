"""Held-out evaluation before, during and after training, of one or several tasks, and which optimizer step was the best so far."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import lightning as L
from rich.console import Console

from rltoolkit.evaluation import Evaluation, evaluate
from rltoolkit.rollout_engine import RolloutEngine
from rltoolkit.run.config import EvaluationConfig
from rltoolkit.training.csv_table import CsvTable
from rltoolkit.training.interrupts import Interrupts, StopRequested
from rltoolkit.training.loading import HeldOut
from rltoolkit.training.ranks import all_gather_objects
from rltoolkit.training.run_log import RunLog

EVALUATION_SEED = 2024
"""Every evaluation draws with the same seeds, so that two evaluations differ by their policies only."""
LOGGED = ("avg_at_k", "pass_at_k", "cons_at_k", "response_length", "truncated")


class Evaluator:
    """Evaluates with the engines of all ranks and writes evaluations.csv, one row for each task.

    Args:
        folder: the run's folder.
        held_out: the problems of one or several tasks. The first task's avg@k says which step is the best.
        config: how many responses, and how they are sampled.
        run_log: running totals for the row.
        interrupts: lets Ctrl-C leave an evaluation.
        console: is told of each result.
    """

    def __init__(
        self,
        folder: Path,
        *,
        held_out: Sequence[HeldOut],
        config: EvaluationConfig,
        run_log: RunLog,
        interrupts: Interrupts,
        console: Console,
    ) -> None:
        self.folder = folder
        self.held_out = held_out
        self.config = config
        self.run_log = run_log
        self.interrupts = interrupts
        self.console = console
        self.best_step, self.best_accuracy = -1, -1.0
        """the optimizer step with the highest avg@k so far; the same on every rank"""
        self._done_at = -1
        self._table: CsvTable | None = None  # on the first process

    def open(self, trainer: L.Trainer) -> None:
        """Take up the results of the run so far, those after its checkpoint left out; a collective."""
        if trainer.is_global_zero:
            self._table = CsvTable(self.folder / "evaluations.csv", lambda row: int(row["optimizer_step"]) <= trainer.global_step)
            for row in [row for row in self._table.rows if row["task"] == self.held_out[0].task]:
                self._take(int(row["optimizer_step"]), float(row["avg_at_k"]))
        so_far = (self.best_step, self.best_accuracy, self._done_at)
        self.best_step, self.best_accuracy, self._done_at = trainer.strategy.broadcast(so_far)

    def is_due(self, rollout_step: int) -> bool:
        """Whether the end of this rollout step (0: the start) asks for an evaluation."""
        return self.config.every > 0 and rollout_step % self.config.every == 0

    def evaluate(self, trainer: L.Trainer, engine: RolloutEngine, rollout_step: int) -> None:
        """Evaluate the engine's policy, once for an optimizer step; a collective. A signal leaves it without a result."""
        step = trainer.global_step
        if step == self._done_at:
            return
        try:
            with self.interrupts.leaving_at_once():
                results = [self._result(trainer, engine, each) for each in self.held_out]
        except StopRequested:
            return
        self._take(step, results[0].avg_at_k.value)
        for each, result in zip(self.held_out, results, strict=True):
            self._write(trainer, result, {"optimizer_step": step, "rollout_step": rollout_step, "task": each.task})

    def _result(self, trainer: L.Trainer, engine: RolloutEngine, held_out: HeldOut) -> Evaluation:
        return evaluate(
            engine,
            held_out.problems,
            held_out.verifier,
            k=self.config.k,
            sampling=self.config.sampling,
            seed=EVALUATION_SEED,
            rank=trainer.global_rank,
            world_size=trainer.world_size,
            all_gather=all_gather_objects,
        )

    def _take(self, step: int, accuracy: float) -> None:
        self._done_at = step
        if accuracy > self.best_accuracy:
            self.best_step, self.best_accuracy = step, accuracy

    def _write(self, trainer: L.Trainer, result: Evaluation, where: dict[str, int | str]) -> None:
        totals = {"generated_tokens_total": self.run_log.generated_tokens, "seconds": round(self.run_log.seconds, 3)}
        row = {**where, **totals, **result.row()}
        if self._table is not None:
            self._table.append(row)
        task = "" if where["task"] == self.held_out[0].task else f"{where['task']}/"  # the first one keeps its keys, alone or not
        for logger in trainer.loggers:
            logger.log_metrics({f"eval/{task}{name}": float(row[name]) for name in LOGGED}, step=trainer.global_step)
        what = f"held-out {where['task']}" if len(self.held_out) > 1 else "held-out"
        self.console.print(f"{what}, after {trainer.global_step} optimizer steps: {result.line()}", highlight=False)
