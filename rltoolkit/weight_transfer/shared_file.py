"""Shared file: the trainer writes the weights once, and every server reads them from that path.

On one machine the file is in memory (/dev/shm). For servers on other machines ``folder`` names one on a filesystem that all of them
have under the same path. Source: none. Config: ``weight_transfer=shared_file``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from rltoolkit.component import check, label
from rltoolkit.errors import RunFailed
from rltoolkit.registry import register
from rltoolkit.weight_transfer.base import Delivery

if TYPE_CHECKING:
    from torch import Tensor


@register("weight_transfer", "shared_file")
@dataclass(frozen=True, kw_only=True)
class SharedFile:
    """Makes senders that write a file.

    Args:
        folder: where the file is written; None is memory, for servers on this machine.
        timeout: seconds that a server may take to read it.
    """

    folder: str | None = None
    timeout: float = 600.0

    def __post_init__(self) -> None:
        check(self, "timeout", self.timeout > 0, "above 0")

    def __call__(self) -> FileSender:
        """See ``WeightTransfer``."""
        return FileSender(None if self.folder is None else Path(self.folder).expanduser().absolute())

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

    def __init__(self, folder: Path | None) -> None:
        from rltoolkit.weights_file import WeightsFile  # choosing a transfer needs no torch

        try:
            self._file = WeightsFile(folder)
        except OSError as error:
            raise RunFailed(f"weight_transfer.folder={folder}: {error.strerror}") from error

    def stage(self, weights: Iterable[tuple[str, Tensor]]) -> Delivery:
        """See ``WeightSender.stage``."""
        tensors = dict(weights)  # read all of them first: an error while reading is the trainer's
        size = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
        try:
            self._file.write(tensors.items())
        except (OSError, RuntimeError) as error:  # torch words a failed write as a RuntimeError
            raise RunFailed(
                f"weight_transfer=shared_file: {size / 2**30:.2f} GiB of weights could not be written to {self._file.path}: {error}. "
                "Is the disk full? weight_transfer.folder names another"
            ) from error
        return Delivery("replace_weights_from", (str(self._file.path),))

    def close(self) -> None:
        """See ``WeightSender.close``."""
        self._file.close()


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
