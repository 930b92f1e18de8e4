"""Shared file: the trainer writes the weights once, bucket by bucket, and every server reads them from that path.

On one machine the files are in memory (/dev/shm). For servers on other machines ``folder`` names one on a filesystem that all of them
have under the same path. Source: none. Config: ``weight_transfer=shared_file``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from rltoolkit.component import check, label
from rltoolkit.errors import RunFailed
from rltoolkit.registry import register
from rltoolkit.weight_transfer.base import BUCKET_MIB, Call

if TYPE_CHECKING:
    from torch import Tensor


@register("weight_transfer", "shared_file")
@dataclass(frozen=True, kw_only=True)
class SharedFile:
    """Makes senders that write files.

    Args:
        folder: where they are written; None is memory, for servers on this machine.
        bucket_mib: MiB of weights that the trainer gathers at a time, or one tensor where that is larger.
        timeout: seconds that a server may take to read them.
    """

    folder: str | None = None
    bucket_mib: int = BUCKET_MIB
    timeout: float = 600.0

    def __post_init__(self) -> None:
        check(self, "bucket_mib", self.bucket_mib >= 1, "at least 1")
        check(self, "timeout", self.timeout > 0, "above 0")

    def __call__(self) -> FileSender:
        """See ``WeightTransfer``."""
        folder = None if self.folder is None else Path(self.folder).expanduser().absolute()
        return FileSender(folder, self.bucket_mib * 2**20)

    def require_reach(self, urls: Sequence[str]) -> None:
        """See ``WeightTransfer``: only loopback addresses are sure to share this machine's memory."""
        away = [url for url in urls if not _is_loopback(url)]
        if away and self.folder is None:
            raise ValueError(
                f"rollout_engine.urls={away[0]}: {label(self)} keeps the weights in this machine's memory; for servers elsewhere set "
                "weight_transfer.folder to a folder that trainer and servers share"
            )


class FileSender:
    """See ``WeightSender``."""

    def __init__(self, folder: Path | None, bucket_bytes: int) -> None:
        from rltoolkit.weights_file import WeightsFile  # choosing a transfer needs no torch

        self._bucket_bytes = bucket_bytes
        try:
            self._file = WeightsFile(folder)
        except OSError as error:
            raise RunFailed(f"weight_transfer.folder={folder}: {error.strerror}") from error

    def calls(self, weights: Iterable[tuple[str, Tensor]]) -> Iterator[Call]:
        """See ``WeightSender.calls``."""
        try:
            self._file.write(weights, self._bucket_bytes)
        except OSError as error:
            raise RunFailed(
                f"weight_transfer=shared_file: the weights could not be written to {self._file.path}: {error}. Is the disk full? "
                "weight_transfer.folder names another"
            ) from error
        yield from self.again()

    def again(self) -> Sequence[Call]:
        """See ``WeightSender.again``."""
        path = str(self._file.path)
        return [Call.of("/collective_rpc", f"Does the server see {path}?", method="replace_weights_from", args=[path])]

    def close(self) -> None:
        """See ``WeightSender.close``."""
        self._file.close()


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
