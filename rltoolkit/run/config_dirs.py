"""Folders with configuration files of one's own: ``--config-dir DIR``, for the process that is started and those that it starts."""

from __future__ import annotations

import os
from pathlib import Path

from rltoolkit.errors import ConfigError

VARIABLE = "RLTOOLKIT_CONFIG_DIRS"


def add(folder: str) -> None:
    """Look in ``folder``, too, after our own files."""
    given = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = os.pathsep.join(filter(None, [given, str(Path(folder).absolute())]))


def folders() -> list[Path]:
    """Those that were added. Raises ConfigError for one that does not exist."""
    found = [Path(folder) for folder in os.environ.get(VARIABLE, "").split(os.pathsep) if folder]
    for folder in found:
        if not folder.is_dir():
            raise ConfigError(f"--config-dir={folder}: there is no such folder")
    return found
