"""What else a run can write, for real and without a network: Weights & Biases offline, TensorBoard, trackio, a profiler's trace."""

import json
import sqlite3

GRPO = ["+experiment=grpo", "rollout_engine=transformers"]


def test_wandb_offline_and_a_profile(command, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    done = command(*GRPO, "logger=wandb", "profiler=torch", "trainer.max_steps=6", f"hydra.run.dir={tmp_path}")
    assert done.returncode == 0, done.stdout + done.stderr
    (log,) = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    # wandb's log is a sequence of binary records in which names of metrics stand as they are
    assert b"gradient_norm" in log.read_bytes()
    assert b"eval/avg_at_k" in log.read_bytes()
    assert list(log.parent.glob("files/media/images/figures/overview*.png"))
    (trace, *_) = (tmp_path / "profiler").glob("*.json")
    assert any("aten::" in event.get("name", "") for event in json.loads(trace.read_text())["traceEvents"])


def test_tensorboard(command, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    done = command(*GRPO, "logger=tensorboard", "trainer.max_steps=2", f"hydra.run.dir={tmp_path}")
    assert done.returncode == 0, done.stdout + done.stderr
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("loss")] == [1, 2]
    (overview,) = events.Images("figures/overview")
    assert overview.step == 2
    assert overview.encoded_image_string.startswith(b"\x89PNG")


def test_trackio_writes_a_local_database(command, tmp_path, monkeypatch):
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    done = command(*GRPO, "logger=trackio", "trainer.max_steps=2", f"hydra.run.dir={tmp_path / 'runs' / 'one'}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "* Trackio" not in done.stdout + done.stderr  # it would greet
    with sqlite3.connect(tmp_path / "trackio" / "rltoolkit.db") as database:
        rows = database.execute("SELECT run_name, step, metrics FROM metrics ORDER BY id").fetchall()
    assert {run for run, _, _ in rows} == {"runs/one"}
    assert [step for _, step, metrics in rows if "gradient_norm" in json.loads(metrics)] == [1, 2]
    assert any("eval/avg_at_k" in json.loads(metrics) for _, _, metrics in rows)
