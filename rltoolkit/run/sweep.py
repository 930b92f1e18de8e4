"""Sweeps: every job in a fresh process, one after another, and a report at the end.

Hydra's launcher runs all jobs in one process; engines and process groups do not survive that. So a job of a sweep starts
``python -m rltoolkit`` with its own overrides and waits. One failing job does not end the others; a finished one is skipped
when the sweep is started again, an unfinished one goes on from its last checkpoint.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from omegaconf import DictConfig
from rich.console import Console

from rltoolkit.run.folder import RunFolder

failed: list[str] = []
"""Folders of the jobs that failed in this sweep."""


def run_in_fresh_process(folder: RunFolder, console: Console) -> int:
    """Run the current job of a sweep in a process of its own. Returns its exit status. Raises KeyboardInterrupt if it was stopped."""
    hydra = HydraConfig.get()
    title = f"[bold]job {hydra.job.num + 1}[/bold]  {folder.path}"
    if folder.finished():
        console.print(f"{title}  finished before, skipped")
        return 0
    console.rule(title, align="left")
    command = [sys.executable, "-m", "rltoolkit", *hydra.overrides.task, "hydra.mode=RUN", f"hydra.run.dir='{folder.path}'"]
    # Ctrl-C reaches the whole process group; the job ends in its own order while this process waits for it
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        status = subprocess.Popen(command, preexec_fn=_default_interrupt).wait()
    finally:
        signal.signal(signal.SIGINT, previous)
    if status == 130:
        raise KeyboardInterrupt
    if status:
        failed.append(str(folder.path))
        console.print(f"[red]job {hydra.job.num + 1} failed with exit status {status}; the sweep goes on")
    return status


def _default_interrupt() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)


class SweepReport(Callback):
    """Hydra callback: the report over all runs of a sweep, when the last one has ended."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Write results.csv, table.md and the figures, and print the table."""
        from rltoolkit.report import write_report

        write_report(Path(config.hydra.sweep.dir))
