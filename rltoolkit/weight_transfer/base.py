"""The contract of a weight transfer: requests that every server is sent, one after the other, so that it takes the weights.

The engine that talks to the servers does the rest: it pauses a server, sends the requests, names the version, and lets it go on.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from torch import Tensor

BUCKET_MIB = 256
"""MiB of weights that the trainer gathers at a time"""


class Call(NamedTuple):
    """A request to one of vLLM's control routes. It can be sent several times, to one server after the other or at once."""

    path: str
    body: Iterable[bytes]
    """JSON, in pieces"""
    hint: str = ""
    """what to look at where a server refuses it"""

    @classmethod
    def of(cls, path: str, hint: str = "", **content: Any) -> Call:
        """With this JSON object as the body."""
        return cls(path, (json.dumps(content).encode(),), hint)


class WeightSender(Protocol):
    """The trainer's live end of a transfer."""

    def calls(self, weights: Iterable[tuple[str, Tensor]]) -> Iterator[Call]:
        """What has every server take the weights, under the names of the Hugging Face checkpoint.

        Weights are gathered as calls are asked for: at most a bucket of them, and the tensor after it, are held at a time. A call
        must be sent before the next one is asked for.

        Raises:
            RunFailed: they cannot be put where servers find them.
        """
        ...

    def again(self) -> Sequence[Call]:
        """What gives the last weights to a server that was away; nothing where they are gone, and it has to wait for the next."""
        ...

    def close(self) -> None:
        """Remove what lies about; harmless when called twice."""
        ...


class WeightTransfer(Protocol):
    """What is registered: the transfer's settings; calling it opens the trainer's end."""

    timeout: float
    """seconds that a server may take for one request"""

    def __call__(self) -> WeightSender:
        """Open the trainer's end."""
        ...

    def require_reach(self, urls: Sequence[str]) -> None:
        """Raise ValueError where weights cannot get to servers at these addresses."""
        ...
