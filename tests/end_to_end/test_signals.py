"""A signal that reaches one process of several, as ``kill``, a container's stop or a job scheduler sends it."""

import json
import os
import signal
import subprocess
import time

import psutil


def test_sigterm_to_either_process_alone_ends_both_in_order(command, tmp_path):
    run = tmp_path / "run"
    overrides = ["+experiment=grpo", "rollout_engine=transformers", "trainer.devices=2", "trainer.max_steps=5000",
                 "trainer.checkpoint_every=1000", f"hydra.run.dir={run}"]  # fmt: skip
    checkpoints = []
    for who in ("main process", "child"):
        rows = (run / "metrics.csv").read_text().count("\n") if checkpoints else 0
        process = command(*overrides, start=True, start_new_session=True)
        try:
            while process.poll() is None and not (
                (run / "metrics.csv").exists() and (run / "metrics.csv").read_text().count("\n") > rows + 1
            ):
                time.sleep(0.1)
            target = process.pid if who == "main process" else second_rank(process.pid)
            os.kill(target, signal.SIGTERM)
            output, _ = process.communicate(timeout=120)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        assert process.returncode == 128 + signal.SIGTERM, (who, output)
        assert "continues from the checkpoint just written" in " ".join(output.split())
        assert json.loads((run / "run.json").read_text())["status"] == "interrupted"
        checkpoints.append(sorted(path.name for path in (run / "checkpoints").glob("step_*")))
    # each of the two signals left a checkpoint of its own, and the second run went on from the first one's
    assert len(checkpoints[0]) == 1
    assert checkpoints[0] == checkpoints[1][:1]
    assert len(checkpoints[1]) == 2


def second_rank(main: int) -> int:
    """The process that Lightning has started beside this one."""
    (child,) = (each for each in psutil.Process(main).children() if each.environ().get("LOCAL_RANK") == "1")
    return child.pid
