"""The contract of a weight transfer: weights are staged once, and every server is told how to take them.

The engine that talks to the servers decides when: it pauses a server, delivers, names the version, and lets it go on.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from torch import Tensor


class Delivery(NamedTuple):
    """The call that a server's workers make to take staged weights: a method of the worker extension, and texts for it."""

    method: str
    arguments: tuple[str, ...]


class WeightSender(Protocol):
    """The trainer's live end of a transfer."""

    def stage(self, weights: Iterable[tuple[str, Tensor]]) -> Delivery:
        """Put the weights where servers find them, under the names of the Hugging Face checkpoint.

        Returns:
            How to take them; it holds, for a server that comes back, too, until the next call.

        Raises:
            RunFailed: they cannot be put there.
        """
        ...

    def close(self) -> None:
        """Remove what was staged; harmless when called twice."""
        ...


class WeightTransfer(Protocol):
    """What is registered: the transfer's settings; calling it opens the trainer's end."""

    timeout: float
    """seconds that a server may take for a delivery"""

    def __call__(self) -> WeightSender:
        """Open the trainer's end."""
        ...

    def require_reach(self, urls: Sequence[str]) -> None:
        """Raise ValueError where weights cannot get to servers at these addresses."""
        ...
