"""Jobs on a SLURM cluster, through submitit: each one is queued, and this process waits for them all."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console

from rltoolkit.errors import ConfigError
from rltoolkit.run.jobs import Job, Outcome, last_lines, signals_go_to

_POLL_SECONDS = 0.5


class Resources(NamedTuple):
    """What a job asks the cluster for."""

    nodes: int
    tasks_per_node: int
    """processes; each of them runs the job's command, and SLURM tells it its rank"""
    gpus_per_node: int
    cpus_per_task: int | None


def run_on_slurm(
    jobs: Sequence[Job],
    resources: Sequence[Resources],
    *,
    folder: Path,
    cluster: str,
    partition: str | None,
    minutes: int,
    extra: Mapping[str, Any],
    console: Console,
) -> Outcome:
    """Queue every job and wait. One that runs out of time or is preempted writes a checkpoint, is queued again and goes on.

    The first Ctrl-C, SIGTERM or SIGHUP cancels the jobs, which the cluster gives some seconds for a checkpoint, and waits for them;
    the second one waits no longer.

    Args:
        jobs, resources: what to run, and on what.
        folder: where submitit keeps its files and the jobs' output; every node must see it.
        cluster: ``slurm``; ``local`` and ``debug`` imitate one on this machine.
        partition, minutes, extra: sbatch's; ``extra`` holds any other of its options.
        console: is told what happens.

    Raises:
        ConfigError: submitit is not installed, or there is no such cluster here.
    """
    try:
        import submitit
    except ImportError as error:
        raise ConfigError("hydra/launcher=slurm needs the package submitit: pip install 'rltoolkit[slurm]'") from error
    try:
        executor = submitit.AutoExecutor(folder=folder, cluster=cluster)
    except (RuntimeError, ValueError) as error:
        raise ConfigError(f"hydra.launcher.cluster={cluster}: {error}") from error
    submitted: list[Any] = []
    signals: list[int] = []

    def on_signal(number: int) -> None:
        signals.append(number)
        if len(signals) == 1:
            for each in submitted:
                each.cancel(check=False)

    def say(text: str, style: str | None = None) -> None:
        console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)

    statuses: list[int | None] = [None] * len(jobs)
    with signals_go_to(on_signal):
        for job, needs in zip(jobs, resources, strict=True):
            if signals:
                break
            settings = {**needs._asdict(), "slurm_partition": partition, "slurm_additional_parameters": dict(extra) or None}
            given = {key: value for key, value in settings.items() if value is not None}
            executor.update_parameters(name="rltoolkit", timeout_min=minutes, **given)
            submitted.append(executor.submit(Command(job.command)))
            say(f"{job.name}  submitted as {submitted[-1].job_id}  {job.folder}, output in {submitted[-1].paths.stdout}")
        waiting = dict(enumerate(submitted))
        while waiting and len(signals) < 2:
            time.sleep(_POLL_SECONDS)
            for index in [index for index, each in waiting.items() if each.done()]:
                ended = waiting.pop(index)
                statuses[index] = _status(ended)
                if statuses[index] == 0:
                    say(f"{jobs[index].name}  finished")
                elif signals:
                    say(f"{jobs[index].name}  interrupted")
                else:
                    output = last_lines(ended.paths.stderr) or last_lines(ended.paths.stdout)
                    say(f"{jobs[index].name}  failed; the other jobs go on. Its last lines:\n{output}", style="red")
    return Outcome(statuses, signals[0] if signals else 0)


def _status(ended: Any) -> int:
    """The highest exit status of a job's processes; 1 where the job was lost or cancelled."""
    try:
        return max(ended.results(), key=abs)
    except Exception:  # whatever submitit raises, the job did not come to its end
        return 1


class Command:
    """What a process of the job does: run a command and wait for it."""

    def __init__(self, command: Sequence[str]) -> None:
        self.command = list(command)
        self._process: subprocess.Popen[bytes] | None = None

    def __call__(self) -> int:
        """The command's exit status."""
        # The cluster tells of the end of a job's time with SIGUSR2, to all its processes: checkpoint() passes it on as SIGTERM.
        self._process = subprocess.Popen(self.command, preexec_fn=lambda: signal.signal(signal.SIGUSR2, signal.SIG_IGN))
        try:
            return self._process.wait()
        except BaseException:
            self._process.terminate()
            self._process.wait()
            raise

    def checkpoint(self) -> Any:
        """Called by submitit, from a signal handler, when the time is over: let the command end in order, and queue it again."""
        from submitit.helpers import DelayedSubmission

        if self._process is not None:
            self._process.terminate()
            # not wait(): this very thread is inside of it, and holds its lock
            os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)
        return DelayedSubmission(Command(self.command))
