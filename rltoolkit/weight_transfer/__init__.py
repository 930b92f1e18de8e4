"""Weight transfers: how weights reach an engine that is no part of the trainer, a server."""

from rltoolkit.weight_transfer.base import Call, WeightSender, WeightTransfer
from rltoolkit.weight_transfer.http import HTTP
from rltoolkit.weight_transfer.shared_file import SharedFile

__all__ = ["HTTP", "Call", "SharedFile", "WeightSender", "WeightTransfer"]
