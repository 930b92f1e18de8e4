"""Lightning's FSDP2 strategy with checkpoints that are written while training goes on."""

from __future__ import annotations

from concurrent.futures import Future
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from lightning.pytorch.strategies import ModelParallelStrategy
from torch.distributed.checkpoint import async_save, load
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.state_dict import (
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)

from rltoolkit.training import ranks
from rltoolkit.training.errors import CheckpointError

_METADATA = "meta.pt"
"""Lightning's name of the file beside the shards."""


class ShardedStrategy(ModelParallelStrategy):
    """Shards the model over all ranks, and its checkpoints; takes the arguments of Lightning's strategy.

    ``save_checkpoint`` copies weights and optimizer state to main memory and returns; a thread of every rank writes its shard.
    The files are those that Lightning's strategy writes.
    """

    _pending: Future[Any] | None = None

    def setup_environment(self) -> None:
        """Start the process group, and another one for the threads that write: collectives of two threads must not meet."""
        super().setup_environment()
        self._writers = dist.new_group(backend="gloo")
        ranks.ask_after_peers()

    def _configure_launcher(self) -> None:
        """Lightning's, for several processes; one needs none, and in a notebook Lightning refuses to train under one."""
        if self.num_processes * self.num_nodes > 1:
            super()._configure_launcher()

    def broadcast(self, obj: Any, src: int = 0) -> Any:
        """Lightning's; a single rank has nobody to tell, and must not start gloo's thread (see ``save_checkpoint``)."""
        return obj if self.world_size == 1 else super().broadcast(obj, src)

    def save_checkpoint(self, checkpoint: dict[str, Any], filepath: Any, storage_options: Any = None) -> None:
        """Begin to write ``checkpoint`` into the folder ``filepath``; ``wait_for_checkpoint`` says when it is there."""
        self.wait_for_checkpoint()
        path = Path(self.broadcast(filepath))
        path.mkdir(parents=True, exist_ok=True)
        optimizers = {f"optimizer_{index}": state for index, state in enumerate(checkpoint.pop("optimizer_states", []))}
        sharded = {"state_dict": checkpoint.pop("state_dict"), **optimizers}
        if self.global_rank == 0:
            torch.save(checkpoint, path / _METADATA)
        # A single process has nothing to agree upon. It must not ask gloo, either: gloo's thread would open a pool of OpenMP
        # threads of its own, and with two pools libgomp lets threads sleep between loops: small updates took twice as long.
        alone = self.world_size == 1
        pending = async_save(sharded, checkpoint_id=path, process_group=self._writers, no_dist=alone)
        assert isinstance(pending, Future)  # torch gives something else where staging is asynchronous, too
        self._pending = pending

    def checkpoint_is_written(self) -> bool:
        """Whether every rank has written all of the checkpoint that was begun last."""
        return self._pending is not None and self._pending.done() and self._pending.exception() is None

    def wait_for_checkpoint(self) -> None:
        """Return when every rank has written all of the checkpoint that was begun last; raises what went wrong, on every rank."""
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> dict[str, Any]:
        """Fill the model and its optimizers, return the rest. Raises CheckpointError, which says what to do.

        Unlike Lightning's, this takes a model that is not sharded, and any number of ranks takes what any other has written.
        """
        path = Path(self.broadcast(checkpoint_path))
        try:
            self._fill(path)
            return torch.load(path / _METADATA, weights_only=weights_only)
        except (Exception, CheckpointException) as error:  # anything can be wrong with a file
            raise CheckpointError(
                f"{path} could not be read: {root_cause(error)}. Delete it to continue from the one before, "
                "or to start again if there is none"
            ) from error

    def _fill(self, path: Path) -> None:
        assert self.model is not None
        where = {"checkpoint_id": path, "process_group": self._writers, "no_dist": self.world_size == 1}
        weights = get_model_state_dict(self.model)
        load({"state_dict": weights}, **where)
        set_model_state_dict(self.model, weights)
        for index, optimizer in enumerate(self.optimizers):
            state = get_optimizer_state_dict(self.model, optimizer)
            load({f"optimizer_{index}": state}, **where)
            set_optimizer_state_dict(self.model, optimizer, state)


def root_cause(error: BaseException) -> str:
    """The innermost error's own words."""
    failures = getattr(error, "failures", None)  # of torch's distributed checkpoint: one for each rank
    inner = next(iter(failures.values()))[0] if failures else error.__cause__ or error.__context__
    return root_cause(inner) if inner is not None else f"{type(error).__name__}: {error}"
