"""Checkpoints: sharded, complete or not there at all; the newest ones and the best one are kept.

A checkpoint is written under a name that ends in ``.partial``, while training goes on, and renamed when every rank is done, so
one that was cut short is never taken for a whole one. ``checkpoints/best`` points at the one with the highest held-out accuracy.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import cast

import lightning as L
from torch.distributed.checkpoint.api import CheckpointException

from rltoolkit.run.folder import complete_checkpoints, newest_checkpoint
from rltoolkit.training.errors import CheckpointError
from rltoolkit.training.strategy import ShardedStrategy, root_cause


class Checkpoints:
    """Writes checkpoints to ``checkpoints/step_N`` in the run's folder, N optimizer steps.

    Args:
        folder: the run's folder.
        keep: how many of the newest to keep; the best one stays, too.
    """

    def __init__(self, folder: Path, *, keep: int) -> None:
        self.folder = folder / "checkpoints"
        self.keep = keep
        self.best_step = -1
        """the optimizer step that ``checkpoints/best`` should point at, the same on every rank"""
        self._pending: Path | None = None
        """where the checkpoint that is being written will be"""

    def clear_partial(self, trainer: L.Trainer) -> None:
        """Remove what a killed run was writing."""
        if trainer.is_global_zero:
            for partial in self.folder.glob("*.partial"):
                partial.unlink() if partial.is_symlink() else shutil.rmtree(partial)

    def publish_if_written(self, trainer: L.Trainer) -> None:
        """Give the checkpoint that is being written its name, if every rank is done; waits for nobody."""
        if self._pending and trainer.is_global_zero and _strategy(trainer).checkpoint_is_written():
            self._publish()

    def save(self, trainer: L.Trainer) -> None:
        """Begin a checkpoint of the current optimizer step, unless there is one. Raises CheckpointError, also for the one before.

        Before the first step there is nothing to save, and asking AdamW for its state would change the run: torch makes a state by
        a step with zero gradients, which counts in the bias correction of all later ones.
        """
        self.finish(trainer)
        if not trainer.global_step:
            return
        path = self.folder / f"step_{trainer.global_step:06d}"
        # the first process looks, so that all do the same even where a shared file system shows a new folder late
        if not trainer.strategy.broadcast(path.exists()):
            self._pending = path
            with self._named_errors():
                trainer.save_checkpoint(_partial(path))

    def mark_best(self, trainer: L.Trainer, step: int) -> None:
        """Let ``checkpoints/best`` point at the checkpoint of this optimizer step, now or as soon as it is written."""
        self.best_step = step
        if trainer.is_global_zero:
            self._point_to_best()

    def abandon(self, trainer: L.Trainer) -> None:
        """Complete what was being written when something else failed; other ranks may be gone, so none is waited for."""
        with suppress(CheckpointError):
            self._complete(trainer)

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
        best = self.folder / f"step_{self.best_step:06d}"
        if best.exists():
            link = self.folder / "best.partial"
            link.unlink(missing_ok=True)
            link.symlink_to(best.name)
            link.replace(self.folder / "best")

    def _delete_old(self) -> None:
        for old in complete_checkpoints(self.folder.parent)[: -self.keep]:
            if old.name != f"step_{self.best_step:06d}":
                # renamed first: a deletion that is cut short must not leave something that looks like a checkpoint
                shutil.rmtree(old.rename(_partial(old)))


def _partial(path: Path) -> Path:
    return path.with_name(path.name + ".partial")


def _strategy(trainer: L.Trainer) -> ShardedStrategy:
    return cast(ShardedStrategy, trainer.strategy)
