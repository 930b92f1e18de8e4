"""What one can choose for a sweep: ``hydra/launcher=local``, ``hydra/launcher=slurm``, and their settings."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore

PLUGINS = "hydra_plugins.rltoolkit"
"""where Hydra believes that the launchers come from: it takes them from below ``hydra_plugins`` alone"""


@dataclass
class LocalOptions:
    """The config node of ``hydra/launcher=local``."""

    _target_: str = f"{PLUGINS}.LocalLauncher"
    jobs_at_once: int = 1  # side by side, each writes to log.txt in its folder
    threads: int | None = None  # of each job; null: cores / jobs_at_once


@dataclass
class SlurmOptions:
    """The config node of ``hydra/launcher=slurm``."""

    _target_: str = f"{PLUGINS}.SlurmLauncher"
    cluster: str = "slurm"  # local: submitit's imitation on this machine, to try a sweep
    partition: str | None = None
    minutes: int = 1440  # a job that runs out of time writes a checkpoint, is queued again and goes on
    nodes: int | None = None  # null: trainer.num_nodes
    gpus_per_node: int | None = None  # null: trainer.devices, none with trainer.accelerator=cpu
    cpus_per_task: int | None = None
    extra: dict[str, Any] = field(default_factory=dict)  # any other option of sbatch: +hydra.launcher.extra.account=mine


@dataclass
class GridOptions:
    """The config node of ``hydra/sweeper=grid``."""

    _target_: str = f"{PLUGINS}.GridSweeper"
    params: dict[str, str] | None = None


def publish() -> None:
    """Store them as Hydra options; harmless when called twice."""
    store = ConfigStore.instance()
    store.store(group="hydra/launcher", name="local", node=LocalOptions)
    store.store(group="hydra/launcher", name="slurm", node=SlurmOptions)
    store.store(group="hydra/sweeper", name="grid", node=GridOptions)
