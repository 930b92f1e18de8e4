"""HTTP: weights travel in the bodies of requests, to servers on any machine, by the four phases of vLLM's weight-transfer protocol.

    init_weight_transfer_engine, start_weight_update, update_weights once for each bucket, finish_weight_update

Trainer and servers share nothing but the connection that samples. Bytes are sent as base64, a third more than they are, to each server.
A server that was away waits for the next weights: the trainer keeps none. Source: none; the phases are those of vLLM's RLHF routes.
Config: ``weight_transfer=http``.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rltoolkit.component import check
from rltoolkit.registry import register
from rltoolkit.weight_transfer.base import BUCKET_MIB, Call

if TYPE_CHECKING:
    from torch import Tensor

PIECE = 3 * 2**20
"""bytes encoded at a time; a multiple of 3, so that the pieces' base64 is that of the whole"""


@register("weight_transfer", "http")
@dataclass(frozen=True, kw_only=True)
class HTTP:
    """Makes senders that put buckets of weights into requests.

    Args:
        bucket_mib: MiB of weights in one request, or one tensor where that is larger.
        timeout: seconds that a server may take for one request.
    """

    bucket_mib: int = BUCKET_MIB
    timeout: float = 600.0

    def __post_init__(self) -> None:
        check(self, "bucket_mib", self.bucket_mib >= 1, "at least 1")
        check(self, "timeout", self.timeout > 0, "above 0")

    def __call__(self) -> HTTPSender:
        """See ``WeightTransfer``."""
        return HTTPSender(self.bucket_mib * 2**20)

    def require_reach(self, urls: Sequence[str]) -> None:
        """See ``WeightTransfer``: where responses come from, weights can go."""


class HTTPSender:
    """See ``WeightSender``."""

    def __init__(self, bucket_bytes: int) -> None:
        self._bucket_bytes = bucket_bytes

    def calls(self, weights: Iterable[tuple[str, Tensor]]) -> Iterator[Call]:
        """See ``WeightSender.calls``."""
        from rltoolkit.weights_file import buckets  # choosing a transfer needs no torch

        yield Call.of("/init_weight_transfer_engine", init_info={})
        yield Call.of("/start_weight_update")
        for bucket in buckets(weights, self._bucket_bytes):
            yield Call("/update_weights", Update(bucket))
        yield Call.of("/finish_weight_update")

    def again(self) -> Sequence[Call]:
        """See ``WeightSender.again``: nothing is kept."""
        return ()

    def close(self) -> None:
        """See ``WeightSender.close``: nothing lies about."""


class Update:
    """The body of one ``/update_weights``, encoded while it is sent: it takes no memory beside the bucket's."""

    def __init__(self, bucket: dict[str, Tensor]) -> None:
        self._bucket = bucket

    def __iter__(self) -> Iterator[bytes]:
        tensors = self._bucket.values()
        about = {
            "names": list(self._bucket),
            "dtype_names": [str(tensor.dtype).removeprefix("torch.") for tensor in tensors],
            "shapes": [list(tensor.shape) for tensor in tensors],
        }
        yield b'{"update_info": %s, "data": ' % json.dumps(about)[:-1].encode()
        opening = b'["'
        for tensor in tensors:
            yield opening
            yield from map(b64encode, _pieces(tensor))
            opening = b'", "'
        yield b'"]}}'


def _pieces(tensor: Tensor) -> Iterator[memoryview]:
    import torch

    for piece in tensor.contiguous().reshape(-1).view(torch.uint8).split(PIECE):
        yield memoryview(piece.cpu().numpy())
