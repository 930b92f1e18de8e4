"""Shuffled: a new order of the problems in every pass.

    order = a permutation of 0, ..., size - 1 drawn uniformly, given (seed, epoch)

Source: none; the usual shuffling without replacement. Config: ``prompt_sampler=shuffled``.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import torch

from rltoolkit.registry import register

if TYPE_CHECKING:
    from torch import Tensor


@register("prompt_sampler", "shuffled")
@dataclass(frozen=True, kw_only=True)
class Shuffled:
    """Different epochs of a seed, and different seeds of an epoch, have unrelated orders."""

    def __call__(self, size: int, epoch: int, seed: int) -> Tensor:
        """See ``PromptSampler``."""
        return _permutation(size, epoch, seed).clone()


@lru_cache(maxsize=2)
def _permutation(size: int, epoch: int, seed: int) -> Tensor:
    """Kept, since every rollout step of a pass asks for it again."""
    # The text is hashed, so (seed, epoch) = (1, 2) and (2, 1) share nothing, as they would with seed + epoch.
    mixed = random.Random(f"{seed}, {epoch}").getrandbits(63)
    return torch.randperm(size, generator=torch.Generator().manual_seed(mixed))
