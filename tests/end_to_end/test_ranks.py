"""Ranks that a launcher has started, each with a command line and a clock of its own: torchrun, srun."""

import json
import os
import socket
import subprocess
import sys
import time

import pytest

from .conftest import SMALL, table

SECONDS = 150
"""of patience with ranks that wait for each other"""


@pytest.fixture
def torchrun(cache, tmp_path):
    """``torchrun(*overrides)``: what torchrun starts on a machine with two processes, the second of them ``late`` seconds later.

    Returns exit status and output of both.
    """

    def run(*overrides: object, late: float = 0.0) -> list[tuple[int, str]]:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        arguments = [sys.executable, "-m", "rltoolkit", *SMALL, "+experiment=grpo", "rollout_engine=transformers", "trainer.devices=2",
                     *map(str, overrides)]  # fmt: skip
        processes = []
        for rank in range(2):
            launcher = {
                "RANK": rank, "LOCAL_RANK": rank, "GROUP_RANK": 0, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2,
                "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "TORCHELASTIC_RUN_ID": "test",
            }  # fmt: skip
            time.sleep(late * rank)
            environment = {**os.environ, "RLTOOLKIT_CACHE": str(cache), **{name: str(value) for name, value in launcher.items()}}
            processes.append(
                subprocess.Popen(
                    arguments, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
                )
            )
        try:
            said = [process.communicate(timeout=SECONDS)[0] for process in processes]
        finally:
            for process in processes:
                process.kill()
        return [(process.returncode, output) for process, output in zip(processes, said, strict=True)]

    return run


def test_ranks_of_a_launcher_agree_on_a_folder_and_on_what_is_to_be_done(torchrun, tmp_path):
    # runs/DATE/TIME is another folder for whoever comes later
    trained = torchrun("trainer.max_steps=2", late=2.5)
    assert [status for status, _ in trained] == [0, 0], trained
    (record,) = (tmp_path / "runs").rglob("run.json")
    run = record.parent
    assert json.loads(record.read_text())["status"] == "finished"
    assert [row["optimizer_step"] for row in table(run / "metrics.csv")] == ["1", "2"]
    assert (run / "checkpoints" / "step_000002").is_dir()
    used = [folder for folder in (tmp_path / "runs").glob("*/*") if any(folder.iterdir())]
    assert used == [run]
    assert [said.count("finished; ") for _, said in trained] == [1, 0]  # the first one speaks for both

    again = torchrun("trainer.max_steps=2", f"hydra.run.dir={run}")
    assert [status for status, _ in again] == [0, 0], again
    assert "this run is finished; nothing to do" in " ".join(again[0][1].split())

    refused = torchrun("trainer.max_steps=2", "seed=1", f"hydra.run.dir={run}")
    assert [status for status, _ in refused] == [2, 2], refused
    assert "holds a run of another configuration: seed was 0, now 1" in " ".join(refused[0][1].split())
