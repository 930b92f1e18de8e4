"""What can go wrong in training."""

from rltoolkit.errors import RunFailed


class NotFinite(RunFailed):
    """Several optimizer steps in a row had a loss or gradient that is not finite."""


class CheckpointError(RunFailed):
    """A checkpoint could not be written or read; the message names it, and what still stands."""


class NothingToTrain(RunFailed):
    """Several rollout steps in a row had no token to train on."""


class RankLost(RunFailed):
    """Another process of the run is gone, with its machine or alone."""
