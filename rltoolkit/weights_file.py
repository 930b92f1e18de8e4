"""A file that carries weights to an engine in another process."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor


class WeightsFile:
    """A file for weights, in memory where the system has /dev/shm. Each sync overwrites it; ``close`` removes it.

    Its folder's name holds the id of its process, so that a later one can remove what a killed one has left behind.

    Args:
        folder: where the file's own folder is made; where not given, in memory.
    """

    def __init__(self, folder: Path | None = None) -> None:
        if folder is None:
            shared = Path("/dev/shm")
            folder = shared if shared.is_dir() else Path(tempfile.gettempdir())
        folder.mkdir(parents=True, exist_ok=True)
        _remove_orphans(folder)
        self._folder = tempfile.TemporaryDirectory(prefix=f"{_shared_prefix()}{os.getpid()}-", dir=folder)
        self.path = Path(self._folder.name) / "weights.pt"
        self.path.touch()

    def write(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        """Put the weights of a model into the file."""
        with self.path.open("r+b") as file:  # in place: allocating a new file's pages takes as long as writing them
            torch.save({name: tensor.detach() for name, tensor in weights}, file)
            file.truncate()

    def close(self) -> None:
        """Remove the file."""
        self._folder.cleanup()


def _shared_prefix() -> str:
    """Process ids mean nothing on another machine or in another container, even where the folder is the same: both are in the name."""
    namespace = Path("/proc/self/ns/pid")
    return f"rltoolkit-weights-{socket.gethostname()}-{namespace.stat().st_ino if namespace.exists() else 0}-"


def _remove_orphans(folder: Path) -> None:
    """Remove the weights of processes of this machine that ended without doing so."""
    prefix = _shared_prefix()
    for left in folder.glob(f"{prefix}*"):
        owner = left.name.removeprefix(prefix).partition("-")[0]
        if owner.isdigit() and not _is_running(int(owner)):
            shutil.rmtree(left, ignore_errors=True)


def _is_running(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
