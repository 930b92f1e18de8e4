"""The contract of a prompt sampler: the order in which one pass over a task's problems goes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor


class PromptSampler(Protocol):
    """``sampler(size, epoch, seed) -> order``, int64 [size]: every problem once, a pure function of its arguments.

    ``size`` is the number of problems, ``epoch`` counts the passes from 0. Being pure it has no state to save: a resumed run
    asks for the same epoch again.
    """

    def __call__(self, size: int, epoch: int, seed: int) -> Tensor: ...
