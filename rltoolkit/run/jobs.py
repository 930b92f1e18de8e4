"""Jobs: commands that run in processes of their own, one after another or several side by side. Nothing here knows Hydra."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import IO, Any, NamedTuple

from rich.console import Console

LOG = "log.txt"
LOG_LINES = 10
"""lines of a failed job's log that are shown"""
_POLL_SECONDS = 0.1


@dataclass(frozen=True, kw_only=True)
class Job:
    """One command, what it is called on the terminal, and the folder that its log goes to."""

    name: str
    command: Sequence[str]
    folder: Path


class Outcome(NamedTuple):
    """How a number of jobs ended."""

    statuses: list[int | None]
    """each job's exit status, -n where signal n killed it, None where it was not started"""
    signal: int
    """the number of the signal that ended them all early, 0 if none came"""


def run_jobs(
    jobs: Sequence[Job], *, jobs_at_once: int = 1, threads: int | None = None, console: Console | None = None
) -> Outcome:
    """Run each job in a process of its own, at most ``jobs_at_once`` at a time; one that fails does not end the others.

    One at a time, they write to the terminal. Side by side, each writes to ``log.txt`` in its folder (a job that goes on adds to it),
    and the terminal gets a line when a job starts, finishes or fails.

    The first Ctrl-C, SIGTERM or SIGHUP is passed on to the running jobs, once each, and waits until they have ended in their own
    order; no other job is started. The second one kills them. Call it from the main thread.

    Args:
        jobs: what to run, in this order.
        jobs_at_once: at least 1.
        threads: OMP_NUM_THREADS of each job; None shares the cores out between jobs that run side by side, and changes nothing
            for one at a time.
        console: is told what happens; where not given, the terminal.
    """
    return _Jobs(jobs, jobs_at_once, threads, console or Console()).run()


@contextmanager
def signals_go_to(listener: Callable[[int], None]) -> Iterator[None]:
    """Within, Ctrl-C, SIGTERM and SIGHUP call ``listener`` with their number and do nothing else; SIGHUP stays ignored where it is."""

    def handler(number: int, frame: FrameType | None) -> None:
        listener(number)

    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # as nohup leaves it
        numbers.append(signal.SIGHUP)
    before: dict[int, Any] = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)


def last_lines(path: Path, count: int = LOG_LINES) -> str:
    """The last lines of a text file, indented; empty if it is not there."""
    if not path.is_file():
        return ""
    with path.open(errors="replace") as file:
        return "".join(f"    {line.rstrip()}\n" for line in deque(file, maxlen=count)).rstrip("\n")


def duration(seconds: float) -> str:
    """``7 s``, ``3 min 20 s``, ``2 h 5 min``"""
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 1:
        return f"{rest} s"
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


@dataclass
class _Running:
    index: int
    job: Job
    process: subprocess.Popen[bytes]
    started: float = field(default_factory=time.monotonic)


class _Jobs:
    def __init__(self, jobs: Sequence[Job], jobs_at_once: int, threads: int | None, console: Console) -> None:
        self.jobs, self.jobs_at_once, self.console = jobs, jobs_at_once, console
        if threads is None and jobs_at_once > 1:
            threads = max(len(os.sched_getaffinity(0)) // jobs_at_once, 1)
        self.environment = {**os.environ, **({} if threads is None else {"OMP_NUM_THREADS": str(threads)})}
        self.waiting = deque(enumerate(jobs))
        self.running: list[_Running] = []
        self.statuses: list[int | None] = [None] * len(jobs)
        self.signals: list[int] = []

    def run(self) -> Outcome:
        with signals_go_to(self.on_signal):
            while self.running or (self.waiting and not self.signals):
                while self.waiting and len(self.running) < self.jobs_at_once and not self.signals:
                    self.start(*self.waiting.popleft())
                time.sleep(_POLL_SECONDS)
                for each in [each for each in self.running if each.process.poll() is not None]:
                    self.running.remove(each)
                    self.end(each)
        return Outcome(self.statuses, self.signals[0] if self.signals else 0)

    def start(self, index: int, job: Job) -> None:
        log: IO[bytes] | None = None
        if self.jobs_at_once > 1:
            job.folder.mkdir(parents=True, exist_ok=True)
            log = (job.folder / LOG).open("ab")
            self.say(f"{job.name}  started   {job.folder}")
        else:
            self.console.rule()
            self.say(f"{job.name}  {job.folder}")
        try:
            # A process group of its own: the terminal's Ctrl-C must reach the job once, through on_signal, since a second one
            # would make it stop without a checkpoint.
            process = subprocess.Popen(
                list(job.command), env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, process_group=0
            )
        finally:
            if log is not None:
                log.close()  # the job holds it open
        self.running.append(_Running(index, job, process))
        if self.signals:  # one came between the check and the start
            process.send_signal(_passed_on(self.signals[0]))

    def end(self, ended: _Running) -> None:
        status = self.statuses[ended.index] = ended.process.returncode
        took = duration(time.monotonic() - ended.started)
        if status == 0:
            if self.jobs_at_once > 1:
                self.say(f"{ended.job.name}  finished in {took}")
        elif self.signals:
            self.say(f"{ended.job.name}  interrupted after {took}")
        else:
            how = f"exit status {status}" if status > 0 else f"signal {-status}"
            text = f"{ended.job.name}  failed with {how} after {took}; the other jobs go on"
            log = ended.job.folder / LOG
            if self.jobs_at_once > 1:
                text += f". The last lines of {log}:\n{last_lines(log)}"
            self.say(text, style="red")

    def on_signal(self, number: int) -> None:
        self.signals.append(number)
        for each in self.running:
            with suppress(ProcessLookupError):
                if len(self.signals) == 1:
                    each.process.send_signal(_passed_on(number))
                else:
                    os.killpg(each.process.pid, signal.SIGKILL)

    def say(self, text: str, style: str | None = None) -> None:
        self.console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)


def _passed_on(number: int) -> int:
    """A job knows Ctrl-C and SIGTERM; SIGHUP would end it at once."""
    return signal.SIGTERM if number == signal.SIGHUP else number
