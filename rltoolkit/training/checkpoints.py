"""Checkpoints: sharded, complete or not there at all; the newest ones and the best one are kept.

A checkpoint is written under a name that ends in ``.partial`` and renamed when every rank is done, so one that was cut short
is never taken for a whole one. ``checkpoints/best`` points at the one with the highest held-out accuracy.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.strategies import ModelParallelStrategy
from torch.distributed.checkpoint.api import CheckpointException

from rltoolkit.training.data import rollout_data
from rltoolkit.training.errors import CheckpointError

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


class ShardedStrategy(ModelParallelStrategy):
    """Lightning's FSDP2 strategy; a checkpoint that cannot be read is an error that says what to do."""

    def load_checkpoint(self, checkpoint_path: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """See Lightning. Raises CheckpointError."""
        try:
            return super().load_checkpoint(checkpoint_path, *args, **kwargs)
        except (Exception, CheckpointException) as error:  # anything can be wrong with a file
            raise CheckpointError(
                f"{checkpoint_path} could not be read: {_cause(error)}. Delete it to continue from the one before, "
                "or to start again if there is none"
            ) from error


class Checkpoints(L.Callback):
    """Saves every few rollout steps, where an evaluation was the best so far, and at the end.

    Args:
        folder: the run's folder; checkpoints go to ``checkpoints/step_N`` in it, N optimizer steps.
        every: rollout steps between two checkpoints.
        keep: how many of the newest to keep.
        best_step: the optimizer step with the best evaluation so far, the same on every rank.
    """

    def __init__(self, folder: Path, *, every: int, keep: int, best_step: Callable[[], int]) -> None:
        self.folder = folder / "checkpoints"
        self.every = every
        self.keep = keep
        self.best_step = best_step

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Clear away what a killed run was writing."""
        if trainer.is_global_zero:
            for partial in self.folder.glob("*.partial"):
                partial.unlink() if partial.is_symlink() else shutil.rmtree(partial)

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        """Save at the end of every ``every``-th rollout step, and when it is the best one."""
        data = rollout_data(trainer)
        is_best = self.best_step() == trainer.global_step
        if is_best or (data.rollout_step_finished and data.collector.rollout_step % self.every == 0):
            self.save(trainer)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save where training ended, finished or interrupted."""
        self.save(trainer)

    def save(self, trainer: L.Trainer) -> Path:
        """Write a checkpoint of the current optimizer step, unless it is there already. Raises CheckpointError."""
        path = self.folder / f"step_{trainer.global_step:06d}"
        if not path.exists():
            self._write(trainer, path)
        if trainer.is_global_zero:
            self._point_to_best()
            self._delete_old()
        trainer.strategy.barrier("checkpoint")
        return path

    def _write(self, trainer: L.Trainer, path: Path) -> None:
        partial = path.with_name(path.name + ".partial")
        trainer.strategy.barrier("checkpoint")  # no rank starts while another still looks whether the checkpoint is there
        try:
            trainer.save_checkpoint(partial)
        except (Exception, CheckpointException) as error:  # torch wraps what the file system says; its wrapper is no Exception
            newest = newest_checkpoint(self.folder.parent)
            stands = f"{newest.name} still stands" if newest else "there is no earlier one"
            raise CheckpointError(f"{path} could not be written: {_cause(error)}; {stands}") from error
        if trainer.is_global_zero:
            partial.rename(path)

    def _point_to_best(self) -> None:
        best = self.folder / f"step_{self.best_step():06d}"
        if best.exists():
            link = self.folder / "best.partial"
            link.unlink(missing_ok=True)
            link.symlink_to(best.name)
            link.replace(self.folder / "best")

    def _delete_old(self) -> None:
        for old in complete_checkpoints(self.folder.parent)[: -self.keep]:
            if old.name != f"step_{self.best_step():06d}":
                # renamed first: a deletion that is cut short must not leave something that looks like a checkpoint
                shutil.rmtree(old.rename(old.with_name(old.name + ".partial")))


def _cause(error: BaseException) -> str:
    """The innermost error's own words."""
    failures = getattr(error, "failures", None)  # of torch's distributed checkpoint: one for each rank
    inner = next(iter(failures.values()))[0] if failures else error.__cause__ or error.__context__
    return _cause(inner) if inner is not None else f"{type(error).__name__}: {error}"
