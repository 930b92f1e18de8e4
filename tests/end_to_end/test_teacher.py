"""On-policy distillation through the command line: real engines, one and two ranks, and teachers that cannot teach."""

import json
import shutil

import pytest

import rltoolkit
from rltoolkit.columns import METRICS, without_meaning

from .conftest import SMALL, table

SHORT = ["sampling.max_new_tokens=12"]
DISTILLED = [
    "+experiment=on_policy_distillation", "rollout_engine=transformers", "prompts_per_step=64", "group_size=1", "mini_batch_size=64",
    "trainer.max_steps=8", "optimizer.learning_rate=0.003", "optimizer.warmup_optimizer_steps=0", "evaluation.max_new_tokens=12",
    *SHORT,
]  # fmt: skip


@pytest.fixture
def model_of(cache, monkeypatch):
    """``model_of(*overrides)``: the directory of the model that a run with them starts from."""
    monkeypatch.setenv("RLTOOLKIT_CACHE", str(cache))
    return lambda *overrides: rltoolkit.load(*SMALL, *SHORT, *overrides).components.model(0)


def distil(command, folder, teacher, *overrides):
    done = command(*DISTILLED, f"advantage_estimator.teacher={teacher}", f"hydra.run.dir={folder}", *overrides)
    assert done.returncode == 0, done.stdout + done.stderr
    return table(folder / "metrics.csv")


def test_a_policy_moves_towards_its_teacher_on_any_number_of_ranks(command, model_of, tmp_path):
    teacher = model_of("model.skill_steps=100")  # the student has had 20
    rows = distil(command, tmp_path / "one", teacher)
    assert not without_meaning(rows[0], METRICS)
    divergence = [float(row["kept_teacher_kl"]) for row in rows]
    assert 0 < divergence[-1] < 0.9 * divergence[0]
    responses = (tmp_path / "one" / "rollouts" / "step_00001.jsonl").read_text().splitlines()
    assert all(len(line["advantage"]) == len(line["tokens"]) for line in map(json.loads, responses))
    two = distil(command, tmp_path / "two", teacher, "trainer.devices=2")
    for one, other in zip(rows, two, strict=True):
        assert float(other["kept_teacher_kl"]) == pytest.approx(float(one["kept_teacher_kl"]), rel=1e-3)
        assert float(other["gradient_norm"]) == pytest.approx(float(one["gradient_norm"]), rel=1e-2)


def test_a_policy_that_is_its_own_teacher_has_nothing_to_learn(command, model_of, tmp_path):
    rows = distil(command, tmp_path, model_of(), "trainer.max_steps=1")
    assert float(rows[0]["kept_teacher_kl"]) == pytest.approx(0, abs=1e-4)  # the engine's rounding against the trainer's
    assert float(rows[0]["gradient_norm"]) < 1e-3


def test_a_teacher_that_cannot_judge_is_refused(command, model_of, tmp_path):
    def refused(teacher, *overrides):
        done = command(*DISTILLED, f"advantage_estimator.teacher={teacher}", f"hydra.run.dir={tmp_path / 'run'}", *overrides)
        assert done.returncode == 2, done.stdout + done.stderr
        return " ".join(done.stderr.split())

    assert "advantage_estimator.teacher is empty: name a directory or a hub name" in refused("")
    assert f"advantage_estimator.teacher={tmp_path}: no config.json in" in refused(tmp_path)
    other = shutil.copytree(model_of(), tmp_path / "other")
    tokenizer = json.loads((other / "tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    first, second = list(vocabulary)[-2:]
    vocabulary[first], vocabulary[second] = vocabulary[second], vocabulary[first]  # as large as ours, and another one
    (other / "tokenizer.json").write_text(json.dumps(tokenizer))
    assert f"advantage_estimator.teacher={other}: its tokens are not those of model=tiny" in refused(other)
    short = shutil.copytree(model_of(), tmp_path / "short")
    config = json.loads((short / "config.json").read_text())
    (short / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 30}))
    # prompts of up to 24 tokens and responses of up to 12
    assert "= 36 tokens are longer than its context of 30 tokens" in refused(short)
    assert not (tmp_path / "run").exists()
