"""Checkpoints: sharded, complete or not there at all; the newest ones and the best one are kept.

A checkpoint is written under a name that ends in ``.partial``, while training goes on, and renamed when every rank is done, so
one that was cut short is never taken for a whole one. ``checkpoints/best`` points at the one with the highest held-out accuracy.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast

import lightning as L
from torch.distributed.checkpoint.api import CheckpointException

from rltoolkit.training.data import rollout_data
from rltoolkit.training.errors import CheckpointError
from rltoolkit.training.strategy import ShardedStrategy, root_cause

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
        self._pending: Path | None = None
        """where the checkpoint that is being written will be"""

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Clear away what a killed run was writing."""
        if trainer.is_global_zero:
            for partial in self.folder.glob("*.partial"):
                partial.unlink() if partial.is_symlink() else shutil.rmtree(partial)

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        """Save at the end of every ``every``-th rollout step, and when it is the best one."""
        if self._pending and trainer.is_global_zero and _strategy(trainer).checkpoint_is_written():
            self._publish()
        data = rollout_data(trainer)
        is_best = self.best_step() == trainer.global_step
        if is_best or (data.rollout_step_finished and data.collector.rollout_step % self.every == 0):
            self.save(trainer)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save where training ended, finished or interrupted."""
        self.save(trainer)
        self.finish(trainer)

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """What was being written when something else failed is not lost; other ranks may be gone, so none is waited for here."""
        with suppress(CheckpointError):
            self._complete(trainer)

    def save(self, trainer: L.Trainer) -> None:
        """Begin a checkpoint of the current optimizer step, unless there is one. Raises CheckpointError, also for the one before."""
        self.finish(trainer)
        path = self.folder / f"step_{trainer.global_step:06d}"
        if not path.exists():  # the same on every rank: it appears when all have written, and none has begun
            self._pending = path
            with self._named_errors():
                trainer.save_checkpoint(_partial(path))

    def finish(self, trainer: L.Trainer) -> None:
        """Return when the checkpoint that is being written is complete and has its name. Raises CheckpointError."""
        self._complete(trainer)
        trainer.strategy.barrier("checkpoint")

    def _complete(self, trainer: L.Trainer) -> None:
        with self._named_errors():
            _strategy(trainer).wait_for_checkpoint()
        if self._pending and trainer.is_global_zero:
            self._publish()
        self._pending = None

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        try:
            yield
        except (Exception, CheckpointException) as error:  # torch wraps what the file system says; its wrapper is no Exception
            failed, self._pending = self._pending, None
            newest = newest_checkpoint(self.folder.parent)
            stands = f"{newest.name} still stands" if newest else "there is no earlier one"
            raise CheckpointError(f"{failed} could not be written: {root_cause(error)}; {stands}") from error

    def _publish(self) -> None:
        assert self._pending is not None
        _partial(self._pending).rename(self._pending)
        self._pending = None
        self._point_to_best()
        self._delete_old()

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
                shutil.rmtree(old.rename(_partial(old)))


def _partial(path: Path) -> Path:
    return path.with_name(path.name + ".partial")


def _strategy(trainer: L.Trainer) -> ShardedStrategy:
    return cast(ShardedStrategy, trainer.strategy)
