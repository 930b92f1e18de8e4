"""Which process of a run this is, by what its launcher left in the environment."""

from __future__ import annotations

import os


def is_first_process() -> bool:
    """Whether this process is rank 0, or the one that will start the others.

    torchrun sets RANK and srun SLURM_PROCID; Lightning's own launcher sets LOCAL_RANK for the processes that it starts, and on
    several machines one gives each of them its NODE_RANK.
    """
    for name in ("RANK", "SLURM_PROCID"):
        if name in os.environ:
            return os.environ[name] == "0"
    return os.environ.get("NODE_RANK", "0") == "0" and os.environ.get("LOCAL_RANK", "0") == "0"
