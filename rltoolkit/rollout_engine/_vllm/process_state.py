"""Guards: an engine in the trainer's process must not change the process's state (environment, random states, signals, classes)."""

from __future__ import annotations

import os
import random
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch

LAUNCH_VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@contextmanager
def preserved_globals() -> Iterator[None]:
    """Restore the environment, the random states and torch's number of threads on leaving.

    vLLM seeds every generator, replaces ``torch.set_num_threads`` by a function that does nothing, and leaves LD_PRELOAD
    and inductor's settings in the environment, where they would reach every process that the trainer starts later.
    """
    environment, set_threads, threads = dict(os.environ), torch.set_num_threads, torch.get_num_threads()
    python_state, numpy_state = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng():
            yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)
        torch.set_num_threads = set_threads
        torch.set_num_threads(threads)
        for name in os.environ.keys() - environment.keys():
            del os.environ[name]
        os.environ.update(environment)


def forget_launcher() -> None:
    """Take the launcher's variables out of the environment: an engine that reads them would join the trainer's ranks."""
    for name in [name for name in os.environ if name in LAUNCH_VARIABLES or name.startswith("TORCHELASTIC_")]:
        del os.environ[name]


@contextmanager
def quiet_stderr() -> Iterator[None]:
    """Hold standard error back, including what compiled code writes; print it only if the body fails."""
    sys.stderr.flush()
    with tempfile.TemporaryFile() as kept:
        terminal = os.dup(2)
        os.dup2(kept.fileno(), 2)
        try:
            yield
        except BaseException:
            kept.seek(0)
            os.write(terminal, kept.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(terminal, 2)
            os.close(terminal)


@contextmanager
def recorded_decorations() -> Iterator[list[Decorated]]:
    """Around the engine's start: collects the transformers classes that vLLM changes in place; see ``undecorate``."""
    from vllm.model_executor.models.transformers import base

    module: Any = base
    decorate, found = module.support_torch_compile, []

    def recording(**options: Any) -> Callable[[type], type]:
        def apply(cls: type) -> type:
            found.append(Decorated(cls, cls.__bases__, dict(vars(cls))))
            return decorate(**options)(cls)

        return apply

    module.support_torch_compile = recording
    try:
        yield found
    finally:
        module.support_torch_compile = decorate


class Decorated(NamedTuple):
    """A class as it was before vLLM decorated it."""

    cls: type
    bases: tuple[type, ...]
    attributes: dict[str, Any]


def undecorate(decorated: Iterable[Decorated], model: torch.nn.Module) -> None:
    """Give classes back as they were, and the modules of ``model`` a subclass with what vLLM added.

    Architectures that vLLM has no code of its own for (OLMo-2, GPT-NeoX) run on transformers' class, which vLLM decorates for
    compilation. Instances made before, the trainer's model, would lack what the decorated class expects.
    """
    for cls, bases, attributes in decorated:
        added = {name: value for name, value in vars(cls).items() if attributes.get(name) is not value}
        if not added:
            continue  # decorated twice: the second time changed nothing
        wrappers = tuple(base for base in cls.__bases__ if base not in bases)
        cls.__bases__ = bases
        for name in added:
            if name in attributes:
                setattr(cls, name, attributes[name])
            else:
                delattr(cls, name)
        engine_cls = type(cls.__name__, (cls, *wrappers), {**added, "__module__": cls.__module__})
        for module in model.modules():
            if type(module) is cls:
                module.__class__ = engine_cls


@contextmanager
def kept_process_group() -> Iterator[None]:
    """Ignore an attempt to destroy the default process group: it is the trainer's."""
    destroy = torch.distributed.destroy_process_group
    torch.distributed.destroy_process_group = lambda group=None: None if group is None else destroy(group)
    try:
        yield
    finally:
        torch.distributed.destroy_process_group = destroy


@contextmanager
def held_interrupts() -> Iterator[Callable[[], None]]:
    """Hold Ctrl-C back until the yielded function is called; the caller calls it where stopping is safe.

    An engine that is interrupted within a step has scheduled tokens that it will never compute, and is broken.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    pending: list[int] = []
    previous = signal.signal(signal.SIGINT, lambda number, frame: pending.append(number))

    def deliver() -> None:
        if pending:
            pending.clear()
            holding = signal.signal(signal.SIGINT, previous)
            signal.raise_signal(signal.SIGINT)
            signal.signal(signal.SIGINT, holding)

    try:
        yield deliver
    finally:
        signal.signal(signal.SIGINT, previous)
        if pending:
            signal.raise_signal(signal.SIGINT)
