"""The contract of a prompt sampler: the order of problems in one pass over a task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor


class PromptSampler(Protocol):
    """``sampler(size, epoch, seed) -> order``, int64 [size]: every problem once, a pure function of its arguments.

    ``size`` is the number of problems, ``epoch`` counts the passes from 0. So there is no state to save: a resumed
    run asks for the same epoch again.
    """

    def __call__(self, size: int, epoch: int, seed: int) -> Tensor: ...
