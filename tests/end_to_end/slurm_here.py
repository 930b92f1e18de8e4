"""A cluster on this machine: ``srun`` and ``scontrol`` that do here what SLURM's do on its nodes. All that they start is real.

Tasks get SLURM's variables. When one ends with an error, or ``srun`` itself gets SIGTERM, all are killed at once, without the seconds
that SLURM gives them. ``--nodes`` and ``--ntasks-per-node`` count; everything else is taken and left alone.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

SRUN = """#!{python}
import os, psutil, signal, subprocess, sys, time
from pathlib import Path

options, command = {{}}, []
for position, word in enumerate(sys.argv[1:], start=1):
    if not word.startswith("--"):
        command = sys.argv[position:]
        break
    name, _, value = word[2:].partition("=")
    options[name] = value
nodes, each = int(options["nodes"]), int(options["ntasks-per-node"])
tasks = []
for rank in range(nodes * each):
    task = {{"SLURM_PROCID": rank, "SLURM_LOCALID": rank % each, "SLURM_NODEID": rank // each, "SLURM_NTASKS": nodes * each,
            "SLURM_NTASKS_PER_NODE": each, "SLURM_NNODES": nodes}}
    tasks.append(subprocess.Popen(command, env={{**os.environ, **{{name: str(value) for name, value in task.items()}}}}))
    with Path({state!r}, "tasks").open("a") as file:
        file.write(f"{{tasks[-1].pid}}\\n")

def kill(*_):
    for task in tasks:
        for process in [*psutil.Process(task.pid).children(recursive=True), task] if task.poll() is None else []:
            process.kill()

signal.signal(signal.SIGTERM, kill)
while any(task.poll() is None for task in tasks):
    time.sleep(0.02)
    if any(task.poll() for task in tasks) and "kill-on-bad-exit" in options:
        kill()
sys.exit(max(status if status >= 0 else 128 - status for status in (task.wait() for task in tasks)))
"""
SCONTROL = """#!/bin/bash
case $1 in
    show) printf '%s\\n' {hosts} ;;
    requeue) echo "$2" >>{state}/queued_again ;;
esac
"""
JOB = "4711"


class Cluster:
    """Runs batch scripts as ``sbatch`` does, in ``folder``.

    Args:
        folder: where jobs start and write.
        hosts: the nodes' names; each is this machine.
    """

    def __init__(self, folder: Path, hosts: list[str]) -> None:
        self.folder, self._state = folder, folder / "slurm"
        (self._state / "bin").mkdir(parents=True)
        for name, text in (("srun", SRUN), ("scontrol", SCONTROL)):
            tool = self._state / "bin" / name
            tool.write_text(text.format(python=sys.executable, state=str(self._state), hosts=" ".join(hosts)))
            tool.chmod(0o755)

    def start(self, script: str, **environment: str) -> subprocess.Popen[str]:
        """The job, as its node's batch shell."""
        (self._state / "tasks").write_text("")
        variables = {**os.environ, **environment, "SLURM_JOB_ID": JOB, "SLURM_JOB_NODELIST": "here"}
        variables["PATH"] = f"{self._state / 'bin'}:{variables['PATH']}"
        return subprocess.Popen(
            ["bash", "-c", script], cwd=self.folder, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def preempt(self) -> None:
        """Tell every task, and not what it has started, nor the batch shell."""
        for task in (self._state / "tasks").read_text().split():
            os.kill(int(task), signal.SIGTERM)

    @property
    def queued_again(self) -> list[str]:
        """The jobs, each as often as it was."""
        file = self._state / "queued_again"
        return file.read_text().split() if file.exists() else []
