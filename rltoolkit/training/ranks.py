"""What the processes of a run agree upon, before training and during it.

Lightning's own launcher starts the other ranks when training begins, with the first one's folder in their arguments. Under torchrun
or srun all of them are there from the start, each with a command line of its own: they have to agree on the run's folder, on the
checkpoint to continue from, and on whether there is anything to do at all.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import stat
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from lightning.fabric.plugins.environments import ClusterEnvironment, SLURMEnvironment, TorchElasticEnvironment

from rltoolkit.training.errors import RankLost

T = TypeVar("T")
_KEEPALIVE = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 25_000}
"""Seconds of silence before a kernel asks, and between its three questions; milliseconds that what was sent may stay unconfirmed."""


def join() -> None:
    """Start the process group where a launcher has started all ranks, so that they can talk before training; else do nothing.

    Lightning finds the group and takes it.
    """
    cluster = _cluster()
    if cluster is None or cluster.world_size() == 1 or dist.is_initialized():
        return
    os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"] = cluster.main_address, str(cluster.main_port)
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(cluster.local_rank())
    dist.init_process_group(backend, rank=cluster.global_rank(), world_size=cluster.world_size())


def ask_after_peers() -> None:
    """Let the kernel notice within half a minute that a machine at the other end of a connection is gone without a word.

    Without power or network it closes nothing, and collectives would wait for half an hour. A busy process is not taken for a lost
    one: its kernel answers for it. Call it when the process groups are up.
    """
    descriptors = Path("/proc/self/fd")  # Linux; elsewhere, collectives wait
    for name in os.listdir(descriptors) if descriptors.is_dir() else ():
        try:
            if not stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                continue
        except OSError:
            continue  # closed meanwhile
        connection = socket.socket(fileno=os.dup(int(name)))  # of the same connection, so that the options are, too
        with connection:
            if connection.family in (socket.AF_INET, socket.AF_INET6) and connection.type == socket.SOCK_STREAM:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                for option, value in _KEEPALIVE.items():
                    connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


@contextlib.contextmanager
def naming_lost_ranks() -> Iterator[None]:
    """Raise RankLost where a collective fails because another process is gone."""
    try:
        yield
    except RuntimeError as error:  # gloo's are nothing more special
        text = str(error)
        if not isinstance(error, dist.DistNetworkError) and not re.search(r"gloo/transport|ncclRemoteError", text):
            raise
        reason = re.sub(r"^\[\S+\] ", "", text.partition("\n")[0]).partition(". ")[0]
        raise RankLost(
            f"another process of this run is gone, or the network to it: {reason}. The last checkpoint stands; the same command "
            "goes on from it, also on fewer machines"
        ) from error


def agree(decide: Callable[[], T]) -> T:
    """What the first rank's ``decide()`` returns, on every rank; without a process group, this process's own.

    Raises:
        Exception: whatever it raised on the first rank, on every rank.
    """
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return decide()
    answer: list[Any] = [None, None]
    if dist.get_rank() == 0:
        try:
            answer = [decide(), None]
        except Exception as error:
            answer = [None, error]
    dist.broadcast_object_list(answer)
    decided, failure = answer
    if failure is not None:
        raise failure
    return decided


def first_before_others(do: Callable[[], T]) -> T:
    """``do()`` on the first rank, then on the others, each with its own result.

    Raises:
        Exception: whatever it raised on the first rank, on every rank.
    """
    of_the_first: list[T] = []
    agree(lambda: of_the_first.append(do()))
    return of_the_first[0] if of_the_first else do()


@contextlib.contextmanager
def shared_directory(parent: Path) -> Iterator[Path]:
    """A directory for all ranks that is gone afterwards; where there are several, in ``parent``, which all of them see."""
    several = dist.is_initialized() and dist.get_world_size() > 1
    if several:
        parent.mkdir(parents=True, exist_ok=True)
    path = Path(agree(lambda: tempfile.mkdtemp(dir=parent if several else None, prefix="scratch_")))
    try:
        yield path
    finally:
        if is_first():
            shutil.rmtree(path, ignore_errors=True)


def is_first() -> bool:
    """Whether this process is the first rank, or alone."""
    return not dist.is_initialized() or dist.get_rank() == 0


def share() -> tuple[int, int]:
    """This rank and how many there are."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


def all_gather_objects(item: Any, group: dist.ProcessGroup | None = None) -> list[Any]:
    """One object from each rank, in their order."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return [item]
    items: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(items, item, group)
    return items


def gather_for_a_thread() -> Callable[[Any], list[Any]]:
    """``all_gather_objects`` for one thread beside training: in a group of its own, so that the two cannot get into each other's way.

    A collective.
    """
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return all_gather_objects
    group = dist.new_group(backend="gloo")
    ask_after_peers()
    return partial(all_gather_objects, group=group)


def _cluster() -> ClusterEnvironment | None:
    """The launcher that has started all ranks."""
    for environment in (TorchElasticEnvironment, SLURMEnvironment):
        if environment.detect():
            return environment()
    return None
