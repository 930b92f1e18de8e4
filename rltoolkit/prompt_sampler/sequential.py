"""Sequential: the problems in the task's own order, in every pass.

    order = 0, 1, ..., size - 1

Source: none; for tasks that come ordered, as curricula do. Config: ``prompt_sampler=sequential``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from rltoolkit.registry import register

if TYPE_CHECKING:
    from torch import Tensor


@register("prompt_sampler", "sequential")
@dataclass(frozen=True, kw_only=True)
class Sequential:
    """The same for every epoch and seed."""

    def __call__(self, size: int, epoch: int, seed: int) -> Tensor:
        """See ``PromptSampler``."""
        return torch.arange(size)
