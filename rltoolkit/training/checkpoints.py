"""Checkpoints: sharded, complete or not there at all, the newest ones kept.

A checkpoint is written under a name that ends in ``.partial`` and renamed when every rank is done, so one that was cut short
is never taken for a whole one.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import lightning as L

from rltoolkit.training.data import rollout_data

_NAME = re.compile(r"step_(\d+)$")


def newest_checkpoint(folder: Path) -> Path | None:
    """The complete checkpoint with the most optimizer steps below ``folder``/checkpoints; None if there is none."""
    found = complete_checkpoints(folder)
    return found[-1] if found else None


def complete_checkpoints(folder: Path) -> list[Path]:
    """All complete checkpoints of a run, oldest first."""
    candidates = (folder / "checkpoints").glob("step_*") if (folder / "checkpoints").is_dir() else iter(())
    named = [(int(match[1]), path) for path in candidates if (match := _NAME.match(path.name))]
    return [path for _, path in sorted(named)]


class Checkpoints(L.Callback):
    """Saves every few rollout steps and at the end.

    Args:
        folder: the run's folder; checkpoints go to ``checkpoints/step_N`` in it, N optimizer steps.
        every: rollout steps between two checkpoints.
        keep: how many to keep.
    """

    def __init__(self, folder: Path, *, every: int, keep: int) -> None:
        self.folder = folder
        self.every = every
        self.keep = keep

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        """Save at the end of every ``every``-th rollout step."""
        data = rollout_data(trainer)
        if data.rollout_step_finished and data.collector.rollout_step % self.every == 0:
            self.save(trainer)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save where training ended, finished or interrupted."""
        self.save(trainer)

    def save(self, trainer: L.Trainer) -> Path:
        """Write a checkpoint of the current optimizer step, unless it is there already."""
        path = self.folder / "checkpoints" / f"step_{trainer.global_step:06d}"
        if path.exists():
            return path
        partial = path.with_name(path.name + ".partial")
        if trainer.is_global_zero:
            shutil.rmtree(partial, ignore_errors=True)
        trainer.strategy.barrier("checkpoint")
        trainer.save_checkpoint(partial)
        if trainer.is_global_zero:
            partial.rename(path)
            for old in complete_checkpoints(self.folder)[: -self.keep]:
                shutil.rmtree(old)
        trainer.strategy.barrier("checkpoint")
        return path
