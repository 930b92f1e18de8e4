"""Held-out evaluation in a run: when, once for a step, and what a continued run takes up."""

import csv
from types import SimpleNamespace

import pytest
import torch
from rich.console import Console
from tensordict import TensorDict

from rltoolkit.collector.prompt_stream import EncodedProblem
from rltoolkit.reward_function import ExactMatch
from rltoolkit.reward_function.base import compare
from rltoolkit.rollout_batch import text_entry
from rltoolkit.run.config import EvaluationConfig
from rltoolkit.training.evaluator import Evaluator
from rltoolkit.training.interrupts import Interrupts, StopRequested
from rltoolkit.training.loading import HeldOut
from rltoolkit.training.run_log import RunLog

PROBLEMS = [EncodedProblem(tokens=[row] * (row + 1), answer="yes", index=row) for row in range(5)]

HELD_OUT = HeldOut("five", PROBLEMS, ExactMatch())


class TableEngine:
    """Of k responses to prompt [p, ...] the first ``right[p]`` are right; what a response looks like depends on its seed alone."""

    def __init__(self, right):
        self.right, self.seeds = right, []

    def generate(self, prompts, group_size, sampling, seeds):
        self.seeds += seeds
        shape = (len(prompts), group_size)
        words = [["yes" if g < self.right[prompt[0]] else f"no {g}" for g in range(group_size)] for prompt in prompts]
        length = torch.tensor([[1 + (seed + g) % 7 for g in range(group_size)] for seed in seeds])
        return TensorDict(
            {"response_text": text_entry(words), "response_length": length, "truncated": length == 7}, batch_size=shape
        )


def nobody(texts, answers):
    return compare(["no"] * len(texts), answers)


def trainer(step: int) -> SimpleNamespace:
    """What an evaluator asks of a trainer: where it is, and that it is alone."""
    return SimpleNamespace(
        global_step=step, is_global_zero=True, global_rank=0, world_size=1, loggers=[],
        strategy=SimpleNamespace(broadcast=lambda value: value),
    )  # fmt: skip


def evaluator(folder, *, interrupts=None, every=2, held_out=(HELD_OUT,)) -> Evaluator:
    config = EvaluationConfig(every=every, problems=5, k=4, max_new_tokens=8)
    return Evaluator(
        folder, held_out=held_out, config=config, run_log=RunLog(folder),
        interrupts=interrupts or Interrupts(), console=Console(quiet=True),
    )  # fmt: skip


def rows(folder) -> list[dict[str, str]]:
    with (folder / "evaluations.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_when_an_evaluation_is_due(tmp_path):
    every_other = evaluator(tmp_path)
    assert [step for step in range(6) if every_other.is_due(step)] == [0, 2, 4]
    assert not any(evaluator(tmp_path, every=0).is_due(step) for step in range(6))  # only at the end, which the loop asks for


def test_a_result_is_a_row_and_a_step_has_one(tmp_path):
    held_out = evaluator(tmp_path)
    held_out.open(trainer(0))
    engine = TableEngine([4, 2, 0, 0, 0])
    held_out.evaluate(trainer(0), engine, 0)
    held_out.evaluate(trainer(0), engine, 0)
    (row,) = rows(tmp_path)
    assert (row["optimizer_step"], row["rollout_step"], row["k"], row["problems"]) == ("0", "0", "4", "5")
    assert float(row["avg_at_k"]) == pytest.approx((4 + 2) / 20)
    assert len(engine.seeds) == 5


def test_the_best_step_is_the_first_of_equals(tmp_path):
    held_out = evaluator(tmp_path)
    held_out.open(trainer(0))
    assert held_out.best_step == -1
    best = []
    for step, right in ((0, 0), (2, 3), (4, 3), (6, 1)):
        held_out.evaluate(trainer(step), TableEngine([right] * 5), step)
        best.append(held_out.best_step)
    assert best == [0, 2, 2, 2]


def test_a_continued_run_takes_up_the_results_before_its_checkpoint_and_drops_the_others(tmp_path):
    first = evaluator(tmp_path)
    first.open(trainer(0))
    for step, right in ((0, 1), (2, 3), (4, 2), (6, 4)):
        first.evaluate(trainer(step), TableEngine([right] * 5), step)
    again = evaluator(tmp_path)
    again.open(trainer(4))
    assert [row["optimizer_step"] for row in rows(tmp_path)] == ["0", "2", "4"]
    assert (again.best_step, again.best_accuracy) == (2, 3 / 4)
    engine = TableEngine([4] * 5)
    again.evaluate(trainer(4), engine, 4)  # was done
    assert engine.seeds == []
    again.evaluate(trainer(5), engine, 5)
    assert (len(rows(tmp_path)), again.best_step) == (4, 5)


def test_several_tasks_have_a_row_each_and_the_first_decides_which_step_is_best(tmp_path):
    # task "five" asks all problems, "two" the last two; "never" those as well, of a verifier that nothing passes
    tasks = (
        HELD_OUT,
        HeldOut("two", PROBLEMS[3:], ExactMatch()),
        HeldOut("never", PROBLEMS[3:], nobody),
    )
    several = evaluator(tmp_path, held_out=tasks)
    several.open(trainer(0))
    several.evaluate(trainer(0), TableEngine([4, 4, 4, 0, 0]), 0)
    several.evaluate(trainer(2), TableEngine([0, 0, 0, 4, 4]), 2)
    found = [(row["optimizer_step"], row["task"], float(row["avg_at_k"])) for row in rows(tmp_path)]
    assert found == [
        ("0", "five", 12 / 20), ("0", "two", 0.0), ("0", "never", 0.0),
        ("2", "five", 8 / 20), ("2", "two", 1.0), ("2", "never", 0.0),
    ]  # fmt: skip
    assert (several.best_step, several.best_accuracy) == (0, 12 / 20)
    again = evaluator(tmp_path, held_out=tasks)
    again.open(trainer(2))
    assert (again.best_step, again.best_accuracy) == (0, 12 / 20)


def test_a_signal_leaves_an_evaluation_without_a_result(tmp_path):
    class Signalled(TableEngine):
        def generate(self, *request):
            raise StopRequested

    held_out = evaluator(tmp_path)
    held_out.open(trainer(0))
    held_out.evaluate(trainer(3), Signalled([0] * 5), 3)
    assert not (tmp_path / "evaluations.csv").exists()
    held_out.evaluate(trainer(3), TableEngine([1] * 5), 3)  # it is still to be done
    assert len(rows(tmp_path)) == 1
