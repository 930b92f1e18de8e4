"""Weight transfers: how weights reach an engine that is no part of the trainer, a server."""

from rltoolkit.weight_transfer.base import Delivery, WeightSender, WeightTransfer
from rltoolkit.weight_transfer.shared_file import SharedFile

__all__ = ["Delivery", "SharedFile", "WeightSender", "WeightTransfer"]
