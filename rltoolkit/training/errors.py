"""What can go wrong in training; apart from the rest, so that the command line knows it without importing Lightning."""


class NotFinite(RuntimeError):
    """Several optimizer steps in a row had a loss or gradient that is not finite."""


class CheckpointError(RuntimeError):
    """A checkpoint could not be written or read; the message names it, and what still stands."""


class NothingToTrain(RuntimeError):
    """Several rollout steps in a row had no token to train on."""
