"""The contract of a sampler filter: which groups are worth training on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from tensordict import TensorDict
    from torch import Tensor


class SamplerFilter(Protocol):
    """``filter(rollouts [P, G]) -> keep``, bool [P]; True keeps the group.

    A filter that can never keep a group of one says so with ``min_group_size: ClassVar[int] = 2``, and a run with a smaller
    ``group_size`` is refused. Without that attribute any group size will do.
    """

    def __call__(self, rollouts: TensorDict) -> Tensor:
        """Which of the P groups to keep: bool [P]."""
        ...
