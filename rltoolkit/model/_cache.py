"""The cache of models made on this machine: each is made once, in full or not at all, however many processes ask for it.

A directory is named after a hash of everything that decides what is in it. It is filled under another name and then renamed, so
what stands under its name is complete; a process that comes while another is at work waits for it.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

CACHE_VARIABLE = "RLTOOLKIT_CACHE"


def cache_root() -> Path:
    """The environment variable RLTOOLKIT_CACHE, else the user's cache directory."""
    from platformdirs import user_cache_dir

    return Path(os.environ.get(CACHE_VARIABLE) or user_cache_dir("rltoolkit"))


def cached_directory(name: str, identity: Mapping[str, object], make: Callable[[Path], None]) -> Path:
    """The directory for ``identity``, made by ``make(empty_directory)`` if it is not there yet.

    Args:
        name: what the directory is called, before the hash.
        identity: everything that decides the contents, JSON values only.
        make: fills an empty directory; if it raises, nothing is left behind.
    """
    from filelock import FileLock

    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]
    directory = cache_root() / f"{name}-{digest}"
    if not directory.is_dir():
        directory.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{directory}.lock"), tempfile.TemporaryDirectory(prefix=f".{name}-", dir=directory.parent) as scratch:
            if not directory.is_dir():  # another process may have made it while this one waited
                filled = Path(scratch, "filled")
                filled.mkdir()
                make(filled)
                filled.rename(directory)
    return directory


def save_weights(causal_lm: Any, directory: Path) -> None:
    """``save_pretrained``, whichever rank calls it.

    Whoever comes first makes a model for all. Transformers would let every rank but the first write nothing, as soon as there is a
    process group (under torchrun there is one by then), and the cache would hold a directory without weights from then on.
    """
    causal_lm.should_save_on_this_rank = lambda is_main_process: is_main_process
    causal_lm.save_pretrained(directory)
