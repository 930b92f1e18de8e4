"""Several machines: torchrun across a network, and the batch script that SLURM gets."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import pytest

from rltoolkit.slurm import script

from .conftest import SMALL, table
from .machines import two_machines
from .slurm_here import Cluster
from .test_faults import DAPO, without_clocks

PAGE = (Path(__file__).parents[2] / "docs" / "how_to" / "clusters.md").read_text()
PATIENCE = 300
STEPS = 8
HOSTS = ["127.0.0.1", "127.0.0.2"]


def environment(cache: Path) -> dict[str, str]:
    return {**os.environ, "RLTOOLKIT_CACHE": str(cache), "OMP_NUM_THREADS": "1"}


def wait_for(condition, *processes):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        assert all(process.poll() is None for process in processes), "a process has ended before"
        time.sleep(0.05)


def checkpoints(run: Path) -> list[str]:
    return sorted(path.name for path in (run / "checkpoints").glob("step_*") if path.suffix != ".partial")


def recipe(machine: str, run: Path) -> list[str]:
    """The page's command for several machines, with names of ours, and as small as this machine."""
    (command,) = re.findall(r"^    (torchrun --nnodes [^\\\n]*(?:\\\n[^\\\n]*)*)$", PAGE, flags=re.MULTILINE)
    for written, ours in (
        ("HOST", machine),
        ("/shared/runs/mine", str(run)),
        ("--nproc-per-node 8", "--nproc-per-node 1"),
        ("trainer.devices=8", "trainer.devices=1"),
        ("preset=one_node", "preset=laptop"),
    ):
        assert written in command
        command = command.replace(written, ours)
    torchrun, *words = shlex.split(command.replace("\\\n", " "))
    assert torchrun == "torchrun"
    return [sys.executable, "-m", "torch.distributed.run", *words, *SMALL, *DAPO[1:]]


class LostMachine(NamedTuple):
    """What is left of a run when one of its two machines is gone."""

    run: Path
    rows: list[dict[str, str]]
    """of metrics.csv"""
    status: int
    said: str


@pytest.fixture(scope="module")
def lost_machine(cache, tmp_path_factory) -> LostMachine | None:
    """After eight optimizer steps or more; None where this process may not make machines."""
    run = tmp_path_factory.mktemp("machines") / "run"
    with two_machines() as machines:
        if machines is None:
            return None
        first, second = machines.names
        words = [*recipe(first, run), "trainer.max_steps=5000"]
        there = machines.start(second, words, env=environment(cache), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        here = machines.start(first, words, env=environment(cache), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        wait_for(lambda: checkpoints(run) and len(table(run / "metrics.csv")) >= STEPS, here, there)
        machines.unplug(second)
        said, _ = here.communicate(timeout=PATIENCE)
    return LostMachine(run, without_clocks(run / "metrics.csv"), here.returncode, said)


def test_a_machine_that_is_gone_ends_the_run_and_the_other_one_can_continue_it(command, lost_machine):
    if lost_machine is None:
        pytest.skip("needs network namespaces: root, and ip from iproute2")
    run, _, status, said = lost_machine
    assert status == 1, said
    assert "another process of this run is gone, or the network to it: " in " ".join(said.split())
    assert json.loads((run / "run.json").read_text())["status"] == "failed"
    stands = checkpoints(run)[-1]
    steps = int(stands.removeprefix("step_")) + 2
    done = command(*DAPO, f"trainer.max_steps={steps}", f"hydra.run.dir={run}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert stands in done.stdout
    assert "continued on 1 processes, the checkpoint was written by 2" in " ".join((done.stdout + done.stderr).split())
    assert [row["optimizer_step"] for row in table(run / "metrics.csv")] == [str(step + 1) for step in range(steps)]


def test_a_preempted_job_is_queued_again_and_ends_as_a_run_that_was_left_alone(cache, tmp_path, lost_machine):
    words = [*SMALL, *DAPO, "trainer.accelerator=cpu", f"trainer.max_steps={STEPS}"]
    printed = script(words, words, nodes=2, servers=0)
    cluster, run = Cluster(tmp_path, HOSTS), tmp_path / "runs" / "4711"

    job = cluster.start(printed, **environment(cache))
    wait_for(lambda: (run / "metrics.csv").exists() and table(run / "metrics.csv"), job)
    cluster.preempt()
    said, _ = job.communicate(timeout=PATIENCE)
    assert job.returncode == 128 + signal.SIGTERM, said
    assert cluster.queued_again == ["4711"], said
    assert len(checkpoints(run)) == 1
    assert len(table(run / "metrics.csv")) < STEPS

    job = cluster.start(printed, **environment(cache))
    said, _ = job.communicate(timeout=PATIENCE)
    assert job.returncode == 0, said
    assert "continues from" in said
    assert cluster.queued_again == ["4711"]
    assert len(table(run / "metrics.csv")) == STEPS
    if lost_machine is not None:  # which was not interrupted until then, on two ranks as well
        assert without_clocks(run / "metrics.csv") == lost_machine.rows[:STEPS]


def test_a_job_that_fails_is_not_queued_again(tmp_path):
    printed = script([], [], nodes=2, servers=0)
    failing = printed.replace("-m rltoolkit ", "-m rltoolkit.is_broken_here ")
    run = tmp_path / "runs" / "4711"
    run.mkdir(parents=True)
    (run / "run.json").write_text('{"status": "interrupted"}')  # by a preemption before
    cluster = Cluster(tmp_path, HOSTS)
    job = cluster.start(failing)
    said, _ = job.communicate(timeout=PATIENCE)
    assert job.returncode != 0
    assert "is_broken_here" in said
    assert cluster.queued_again == []
