"""The contract of a sampler filter: which groups are worth training on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from tensordict import TensorDict
    from torch import Tensor


class SamplerFilter(Protocol):
    """``filter(rollouts [P, G]) -> keep``, bool [P]; True keeps the group."""

    def __call__(self, rollouts: TensorDict) -> Tensor: ...
