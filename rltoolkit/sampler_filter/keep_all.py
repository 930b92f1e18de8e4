"""Keep all: every group trains, even if its responses all have the same reward.

    keep = True

Source: DAPO, arXiv:2503.14476, table 1 (the naive GRPO baseline). Config: ``sampler_filter=[keep_all]``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from rltoolkit.registry import register

if TYPE_CHECKING:
    from tensordict import TensorDict
    from torch import Tensor


@register("sampler_filter", "keep_all")
@dataclass(frozen=True, kw_only=True)
class KeepAll:
    """No filter."""

    def __call__(self, rollouts: TensorDict) -> Tensor:
        """rollouts [P, G] -> bool [P], all True."""
        return torch.ones(rollouts.shape[0], dtype=torch.bool, device=rollouts["correct"].device)
