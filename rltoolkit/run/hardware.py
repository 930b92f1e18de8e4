"""Whether this machine has what a preset asks for."""

from __future__ import annotations

from rltoolkit.errors import ConfigError
from rltoolkit.run.config import RunConfig


def validate_hardware(config: RunConfig) -> None:
    """Refuse a preset that this machine cannot run. Raises ConfigError."""
    import psutil
    import torch

    gpus, memory = torch.cuda.device_count(), psutil.virtual_memory().total / 2**30
    needed, trainer = config.hardware, config.trainer
    if gpus * trainer.num_nodes < needed.min_gpus:
        raise ConfigError(
            f"this preset needs {needed.min_gpus} GPUs (hardware.min_gpus), found {gpus} here x trainer.num_nodes="
            f"{trainer.num_nodes}; preset=laptop runs on a CPU"
        )
    if memory < needed.min_memory_gib:
        raise ConfigError(
            f"this preset needs {needed.min_memory_gib:g} GiB of memory (hardware.min_memory_gib), found {memory:.1f} GiB; "
            "preset=laptop needs 4"
        )
    if trainer.accelerator == "gpu" and gpus < trainer.devices:
        raise ConfigError(f"trainer.accelerator=gpu with trainer.devices={trainer.devices}: found {gpus} GPUs here")
