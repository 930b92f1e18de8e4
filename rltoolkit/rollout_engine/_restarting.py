"""An engine that restarts once when it dies, with the weights last sent."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from rltoolkit.rollout_engine._sampled import sample_all
from rltoolkit.rollout_engine.base import EngineDied, RolloutEngine, RolloutStream, Sampling

if TYPE_CHECKING:
    from tensordict import TensorDict
    from torch import Tensor

log = logging.getLogger(__name__)


class RestartingEngine:
    """Wraps an engine that can die without taking the trainer with it; see ``RolloutEngine`` for the methods.

    Requests in flight are submitted again. Responses depend on weights and seeds alone, so the rollouts are the same. A second
    death before the next weight sync (within one rollout step) is final. Keeps a copy of the last weights in main memory.

    Args:
        start: makes the engine, on the weights that it starts with.
    """

    def __init__(self, start: Callable[[], RolloutEngine]) -> None:
        self._start = start
        self.engine = start()
        self._weights: dict[str, Tensor] = {}
        self._version = 0
        self._restarted = self._closed = False

    @contextmanager
    def stream(self, group_size: int, sampling: Sampling) -> Iterator[RestartingStream]:
        """See ``RolloutEngine.stream``."""
        stream = RestartingStream(self, group_size, sampling)
        try:
            yield stream
        finally:
            stream.close()

    def generate(self, prompts: Sequence[Sequence[int]], group_size: int, sampling: Sampling, seeds: Sequence[int]) -> TensorDict:
        """See ``RolloutEngine.generate``."""
        with self.stream(group_size, sampling) as stream:
            return sample_all(stream, prompts, seeds)

    def log_probs(self, sequences: Sequence[Sequence[int]]) -> list[Tensor]:
        """See ``RolloutEngine.log_probs``."""
        try:
            return self.engine.log_probs(sequences)
        except EngineDied as death:
            self.restart(death)
            return self.engine.log_probs(sequences)

    def update_weights(self, weights: Iterable[tuple[str, Tensor]], version: int) -> None:
        """See ``RolloutEngine.update_weights``."""
        self._version, self._restarted = version, False
        kept = self._keep(weights)
        try:
            self.engine.update_weights(kept, version)
        except EngineDied as death:
            for _ in kept:  # read the rest: under FSDP2 that is a collective, and the other ranks wait in it
                pass
            self.restart(death)

    def sleep(self) -> None:
        """See ``RolloutEngine.sleep``."""
        with contextlib.suppress(EngineDied):  # the next call will notice
            self.engine.sleep()

    def close(self) -> None:
        """See ``RolloutEngine.close``."""
        self._closed = True
        self.engine.close()

    def _keep(self, weights: Iterable[tuple[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
        """The weights as they come, each copied on its way."""
        for name, tensor in weights:
            if name in self._weights:
                self._weights[name].copy_(tensor)  # reuse the memory: allocating it takes as long as the copy
            else:
                self._weights[name] = tensor.detach().to("cpu", copy=True)
            yield name, tensor

    def restart(self, death: EngineDied) -> None:
        """Start the engine anew, on the weights last sent. Raises EngineDied for the second death in a rollout step."""
        if self._closed:
            raise death
        if self._restarted:
            raise EngineDied(f"{death}; it had been restarted once in this rollout step") from death
        log.warning("%s; starting it again", death)
        self._restarted = True
        self.engine.close()
        self.engine = self._start()
        if self._weights:
            self.engine.update_weights(iter(self._weights.items()), self._version)


class RestartingStream:
    """Submits the groups in flight again to an engine that was restarted; see ``RolloutStream``."""

    def __init__(self, owner: RestartingEngine, group_size: int, sampling: Sampling) -> None:
        self._owner, self._group_size, self._sampling = owner, group_size, sampling
        self._in_flight: dict[int, tuple[Sequence[int], int, int]] = {}  # key -> prompt, seed, number of the first response
        self._open()

    def submit(self, keys: Sequence[int], prompts: Sequence[Sequence[int]], seeds: Sequence[int], first: int = 0) -> None:
        """See ``RolloutStream.submit``."""
        try:
            self._stream.submit(keys, prompts, seeds, first)
        except EngineDied as death:
            self._reopen(death)
            self._stream.submit(keys, prompts, seeds, first)
        self._in_flight.update({key: (*group, first) for key, group in zip(keys, zip(prompts, seeds, strict=True), strict=True)})

    def next_finished(self, timeout: float | None = None) -> tuple[list[int], TensorDict] | None:
        """See ``RolloutStream.next_finished``."""
        try:
            finished = self._stream.next_finished(timeout)
        except EngineDied as death:
            self._reopen(death)
            finished = self._stream.next_finished(timeout)
        for key in finished[0] if finished else ():
            del self._in_flight[key]
        return finished

    def close(self) -> None:
        """Drop what is in flight."""
        with contextlib.suppress(EngineDied):  # nothing runs in a dead engine
            self._context.close()

    def _open(self) -> None:
        self._context = ExitStack()
        self._stream: RolloutStream = self._context.enter_context(self._owner.engine.stream(self._group_size, self._sampling))

    def _reopen(self, death: EngineDied) -> None:
        self.close()
        self._owner.restart(death)
        self._open()
        for first in sorted({first for _, _, first in self._in_flight.values()}):
            keys = [key for key, group in self._in_flight.items() if group[2] == first]
            prompts, seeds, _ = zip(*(self._in_flight[key] for key in keys), strict=True)
            self._stream.submit(keys, prompts, seeds, first)
