"""The two kinds of errors that a user can act on; every other one is a bug."""

from __future__ import annotations


class ConfigError(ValueError):
    """A configuration that cannot run; the message names the key, the value and what is allowed."""


class RunFailed(RuntimeError):
    """What ended a run that had begun; the message says all there is to know."""
