"""What can go wrong in training; apart from the rest, so that the command line knows it without importing Lightning."""


class NotFinite(RuntimeError):
    """Several optimizer steps in a row had a loss or gradient that is not finite."""
