"""Files that carry weights to an engine in another process, a bucket of weights in each."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch
from torch import Tensor

BUCKET_BYTES = 256 * 2**20


class WeightsFile:
    """Files for weights, in memory where the system has /dev/shm. Each sync overwrites them; ``close`` removes them.

    Their folder's name holds the id of its process, so that a later one can remove what a killed one has left behind.

    Args:
        folder: where their own folder is made; where not given, in memory.
    """

    def __init__(self, folder: Path | None = None) -> None:
        if folder is None:
            shared = Path("/dev/shm")
            folder = shared if shared.is_dir() else Path(tempfile.gettempdir())
        folder.mkdir(parents=True, exist_ok=True)
        _remove_orphans(folder)
        self._folder = tempfile.TemporaryDirectory(prefix=f"{_shared_prefix()}{os.getpid()}-", dir=folder)
        self.path = Path(self._folder.name)

    def write(self, weights: Iterable[tuple[str, Tensor]], bucket_bytes: int = BUCKET_BYTES) -> None:
        """Put the weights of a model into the files, gathering one bucket after the other. Raises OSError where they do not fit."""
        count = 0
        for count, bucket in enumerate(buckets(weights, bucket_bytes), start=1):
            self._write_bucket(self.path / f"{count:06}.pt", bucket)
        for left in sorted(self.path.glob("*.pt"))[count:]:
            left.unlink()

    def close(self) -> None:
        """Remove the files."""
        self._folder.cleanup()

    def _write_bucket(self, path: Path, bucket: dict[str, Tensor]) -> None:
        path.touch()
        try:
            with path.open("r+b") as file:  # in place: allocating a new file's pages takes as long as writing them
                torch.save(bucket, file)
                file.truncate()
        except RuntimeError as error:  # torch's word for a failed write
            raise OSError(str(error)) from error


def read_weights(path: Path) -> Iterator[tuple[str, Tensor]]:
    """What ``WeightsFile.write`` has put there."""
    for file in sorted(path.glob("*.pt")):
        yield from torch.load(file, map_location="cpu", mmap=True).items()


def buckets(weights: Iterable[tuple[str, Tensor]], limit: int) -> Iterator[dict[str, Tensor]]:
    """The weights in their order, as many at a time as have ``limit`` bytes together; a larger one comes alone.

    A bucket is emptied when the next one is asked for: at most one of them and the tensor after it are held.
    """
    bucket: dict[str, Tensor] = {}
    size = 0
    for name, tensor in weights:
        if bucket and size + tensor.nbytes > limit:
            yield bucket
            bucket.clear()
            size = 0
        bucket[name] = tensor.detach()
        size += tensor.nbytes
    if bucket:
        yield bucket


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
