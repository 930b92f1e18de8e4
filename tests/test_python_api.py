"""Training from Python: a run is loaded, a component of one's own takes its place in it, and it trains."""

import csv
import os
import warnings
from dataclasses import dataclass

import pytest
import torch

import rltoolkit
from rltoolkit.errors import ConfigError
from rltoolkit.reward_function import Verdict

from .training.conftest import TINY


@pytest.fixture(autouse=True)
def quiet(monkeypatch, tmp_path_factory):
    """``rltoolkit.train`` quiets the libraries of its process; here others want theirs to go on talking."""
    monkeypatch.setattr(os, "environ", os.environ.copy())
    monkeypatch.setenv("RLTOOLKIT_CACHE", str(tmp_path_factory.getbasetemp() / "models"))
    with warnings.catch_warnings():
        yield


class ShortIsRight:
    """A reward of one's own: no base class, no dataclass, no name; of the contract the one method that training needs."""

    def __call__(self, texts: list[str], answers: list[str]) -> Verdict:
        correct = torch.tensor([len(text) < 4 for text in texts])
        return Verdict(correct=correct, reward=torch.where(correct, 1.0, -0.5))


def test_load_replace_train(tmp_path, monkeypatch):
    # as in a notebook, where Lightning refuses to start processes
    monkeypatch.setattr("lightning.pytorch.trainer.connectors.accelerator_connector._IS_INTERACTIVE", True)
    run = rltoolkit.load(*TINY, "trainer.max_steps=2").replace(reward_function=ShortIsRight())
    result = rltoolkit.train(run, tmp_path / "mine")
    assert (result.status, result.signal, result.folder) == ("finished", 0, tmp_path / "mine")
    assert result.checkpoint == tmp_path / "mine" / "checkpoints" / "step_000002"
    with (result.folder / "metrics.csv").open(newline="") as file:
        steps = list(csv.DictReader(file))
    assert [step["optimizer_step"] for step in steps] == ["1", "2"]
    # every response has one of two rewards, so their mean says how many were right: r = -0.5 (1 - a) + a
    accuracy = float(steps[0]["sampled_accuracy"])
    assert float(steps[0]["sampled_reward"]) == pytest.approx(-0.5 + 1.5 * accuracy, abs=1e-5)
    with (result.folder / "evaluations.csv").open(newline="") as file:
        (evaluated,) = csv.DictReader(file)
    assert evaluated["reward_function"] == "ShortIsRight()"
    assert float(evaluated["cons_at_k"]) != float(evaluated["cons_at_k"])  # without extract() there is no vote
    # what was evaluated last was the best so far
    assert result.best_checkpoint == result.checkpoint

    before = {path: path.stat().st_mtime_ns for path in result.folder.rglob("[!.]*") if path.is_file()}
    assert rltoolkit.train(run, tmp_path / "mine") == result  # finished before: there is nothing to do
    assert before == {path: path.stat().st_mtime_ns for path in before}
    with pytest.raises(ConfigError, match=r"holds a run of another configuration: reward_function\._target_ was .*ShortIsRight"):
        rltoolkit.train(rltoolkit.load(*TINY, "trainer.max_steps=2"), tmp_path / "mine")


@dataclass
class Pairs:
    """An estimator of one's own that compares two responses."""

    min_group_size = 2

    def __call__(self, rollouts):
        raise NotImplementedError


def test_a_replacement_that_contradicts_the_run_is_refused():
    run = rltoolkit.load(*TINY, "advantage_estimator=raw", "group_size=1")
    with pytest.raises(
        ConfigError, match=r"group_size=1: Pairs compares the responses to one prompt, so group_size must be at least 2"
    ):
        run.replace(advantage_estimator=Pairs())
    with pytest.raises(TypeError, match="reward_fn"):
        run.replace(reward_fn=ShortIsRight())
    assert run.components.reward_function.name == "equation_answer"  # a run does not change


def test_a_run_that_cannot_be_is_refused_when_it_is_loaded():
    with pytest.raises(ConfigError, match=r"mini_batch_size=3 must divide prompts_per_step x group_size = 4 x 2 = 8 responses"):
        rltoolkit.load(*TINY, "mini_batch_size=3")
