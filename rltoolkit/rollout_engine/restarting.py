"""An engine that is started again once when it dies, with the weights that it had."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from tensordict import TensorDict
from torch import Tensor

from rltoolkit.rollout_engine.base import EngineDied, RolloutEngine, Sampling

log = logging.getLogger(__name__)
T = TypeVar("T")


class RestartingEngine:
    """Wraps an engine that can die without taking the trainer with it; see ``RolloutEngine`` for the methods.

    What was asked for when it died is asked for again. Responses are functions of weights and seeds, so the rollouts are the
    same. A second death before the next weight sync, that is within one rollout step, is final. Keeps a copy of the weights
    last sent, in main memory.

    Args:
        start: makes the engine, on the weights that it starts with.
    """

    def __init__(self, start: Callable[[], RolloutEngine]) -> None:
        self._start = start
        self._engine = start()
        self._weights: list[tuple[str, Tensor]] = []
        self._version = 0
        self._restarted = self._closed = False

    def generate(self, prompts: Sequence[Sequence[int]], group_size: int, sampling: Sampling, seeds: Sequence[int]) -> TensorDict:
        """See ``RolloutEngine.generate``."""
        return self._persistently(lambda engine: engine.generate(prompts, group_size, sampling, seeds))

    def log_probs(self, sequences: Sequence[Sequence[int]]) -> list[Tensor]:
        """See ``RolloutEngine.log_probs``."""
        return self._persistently(lambda engine: engine.log_probs(sequences))

    def update_weights(self, weights: Iterable[tuple[str, Tensor]], version: int) -> None:
        """See ``RolloutEngine.update_weights``."""
        self._weights = [(name, tensor.detach().cpu().clone()) for name, tensor in weights]
        self._version, self._restarted = version, False
        self._persistently(lambda engine: engine.update_weights(iter(self._weights), version))

    def close(self) -> None:
        """See ``RolloutEngine.close``."""
        self._closed = True
        self._engine.close()

    def _persistently(self, ask: Callable[[RolloutEngine], T]) -> T:
        try:
            return ask(self._engine)
        except EngineDied as death:
            if self._closed:
                raise
            if self._restarted:
                raise EngineDied(f"{death}; it had been restarted once in this rollout step") from death
            log.warning("%s; starting it again", death)
        self._restarted = True
        self._engine.close()
        self._engine = self._start()
        if self._weights:
            self._engine.update_weights(iter(self._weights), self._version)
        return ask(self._engine)
