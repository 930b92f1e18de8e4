"""The contracts of a prompt sampler: one fixes the order of every pass beforehand, the other learns from what was sampled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

Integers: TypeAlias = NDArray[np.int64]
State: TypeAlias = Mapping[str, NDArray[Any]]
"""What a learning sampler knows, as arrays; those of one number have no dimension. It is saved as it is."""


class PromptSampler(Protocol):
    """``sampler(size, epoch, seed) -> order``, int64 [size]: every problem once, a pure function of its arguments.

    ``size`` is the number of problems, ``epoch`` counts the passes from 0. So there is no state to save: a resumed
    run asks for the same epoch again.
    """

    def __call__(self, size: int, epoch: int, seed: int) -> Tensor:
        """The order of one epoch: every index from 0 to ``size`` - 1 once."""
        ...


@runtime_checkable
class LearningPromptSampler(Protocol):
    """Asks next what the verdicts so far suggest; every method is a pure function of its arguments, so the state is all to save.

    ``order`` is asked once, when a rollout step begins, and ``observe`` once, when it has ended: the order of a step never depends
    on its own groups, nor on which of them finish first or on which rank.
    """

    def start(self, size: int, seed: int) -> State:
        """The state before anything was sampled, of a task with ``size`` problems."""
        ...

    def order(self, state: State, count: int) -> Integers:
        """The problems of the rollout step that begins, the first one first; [count], or [0] where no problem is left to ask.

        A shorter order is the beginning of a longer one. Where the task is small a problem comes several times.
        """
        ...

    def observe(self, state: State, problem_index: Integers, correct: Integers, group_size: Integers) -> State:
        """The state after a rollout step.

        Args:
            state: from which the step's order was made; it is not changed.
            problem_index: [n], the first n of that order, n >= 0: the problems of every group sampled, rejected ones included.
            correct: [n], right responses of each group.
            group_size: [n], all responses of each group, at least 1.
        """
        ...

    def metrics(self, state: State) -> dict[str, float]:
        """What to log after a rollout step; names are those of ``rltoolkit.columns``."""
        ...
