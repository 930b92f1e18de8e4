"""Several machines: torchrun across a network, and the batch script that SLURM gets."""

import json
import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rltoolkit.slurm import script

from .conftest import SMALL, table
from .machines import two_machines
from .slurm_here import Cluster
from .test_faults import DAPO, without_clocks

PAGE = (Path(__file__).parents[2] / "docs" / "how_to" / "clusters.md").read_text()
PATIENCE = 300


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
    (command,) = re.findall(r"^    (torchrun --nnodes .*(?:\\\n.*)*)$", PAGE, flags=re.MULTILINE)
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


def test_a_machine_that_is_gone_ends_the_run_and_another_number_of_machines_continues_it(command, cache, tmp_path):
    run = tmp_path / "run"
    environment = {**os.environ, "RLTOOLKIT_CACHE": str(cache), "OMP_NUM_THREADS": "1"}
    with two_machines() as machines:
        if machines is None:
            pytest.skip("needs network namespaces: root, and ip from iproute2")
        first, second = machines.names
        words = [*recipe(first, run), "trainer.max_steps=5000"]
        there = machines.start(second, words, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        here = machines.start(first, words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        wait_for(lambda: checkpoints(run), here, there)
        machines.unplug(second)
        said, _ = here.communicate(timeout=PATIENCE)
        assert here.returncode == 1, said
        assert "another process of this run is gone, or the network to it: " in said
    assert json.loads((run / "run.json").read_text())["status"] == "failed"
    stands = checkpoints(run)[-1]
    steps = int(stands.removeprefix("step_")) + 2
    done = command(*DAPO, f"trainer.max_steps={steps}", f"hydra.run.dir={run}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert stands in done.stdout
    assert "continued on 1 processes, the checkpoint was written by 2" in " ".join((done.stdout + done.stderr).split())
    assert [row["optimizer_step"] for row in table(run / "metrics.csv")] == [str(step + 1) for step in range(steps)]


def test_a_preempted_job_is_queued_again_and_ends_as_one_that_was_left_alone(command, cache, tmp_path):
    words = [*SMALL, *DAPO, "trainer.accelerator=cpu", "trainer.max_steps=8"]
    printed = script(words, words, nodes=2, servers=0)
    cluster, run = Cluster(tmp_path, ["127.0.0.1", "127.0.0.2"]), tmp_path / "runs" / "4711"
    environment = {"RLTOOLKIT_CACHE": str(cache), "OMP_NUM_THREADS": "1"}

    job = cluster.start(printed, **environment)
    wait_for(lambda: (run / "metrics.csv").exists() and table(run / "metrics.csv"), job)
    cluster.preempt()
    said, _ = job.communicate(timeout=PATIENCE)
    assert job.returncode == 143, said
    assert cluster.queued_again == ["4711"], said
    assert len(checkpoints(run)) == 1
    assert len(table(run / "metrics.csv")) < 8

    job = cluster.start(printed, **environment)
    said, _ = job.communicate(timeout=PATIENCE)
    assert job.returncode == 0, said
    assert "continues from" in said
    assert cluster.queued_again == ["4711"]

    left_alone = command(*words[len(SMALL) :], "trainer.devices=2", f"hydra.run.dir={tmp_path / 'left_alone'}")
    assert left_alone.returncode == 0, left_alone.stderr
    assert without_clocks(run / "metrics.csv") == without_clocks(tmp_path / "left_alone" / "metrics.csv")


def test_a_job_that_fails_is_not_queued_again(tmp_path):
    words = ["task=json_lines", f"task.path={tmp_path / 'missing.jsonl'}", "trainer.accelerator=cpu"]
    printed = script(words, words, nodes=2, servers=0)
    cluster = Cluster(tmp_path, ["127.0.0.1", "127.0.0.2"])
    job = cluster.start(printed, OMP_NUM_THREADS="1")
    said, _ = job.communicate(timeout=PATIENCE)
    assert job.returncode in (2, 137), said  # its own status, or that of the other task, which was killed
    assert "missing.jsonl" in said
    assert cluster.queued_again == []
