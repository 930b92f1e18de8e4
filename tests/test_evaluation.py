"""avg@k, pass@k, cons@k by hand; and one evaluation through an engine that answers from a table."""

import math
from dataclasses import dataclass

import pytest
import torch
from tensordict import TensorDict

from rltoolkit import evaluation
from rltoolkit.collector import EncodedProblem
from rltoolkit.evaluation import avg_at_k, bootstrap, cons_at_k, evaluate, pass_at_k
from rltoolkit.reward_function import EquationAnswer
from rltoolkit.rollout_batch import text_entry
from rltoolkit.rollout_engine.base import Sampling

CORRECT = [[True, True, False, False], [True, False, False, False], [False] * 4]


def test_avg_at_k():
    # (2/4 + 1/4 + 0/4) / 3 = 1/4
    assert avg_at_k(CORRECT).value == pytest.approx(1 / 4)


def test_pass_at_k_is_unbiased():
    # k=1 is avg@k. k=2, C(4,2) = 6: 1 - C(2,2)/6 = 5/6, 1 - C(3,2)/6 = 1/2, 1 - 6/6 = 0: mean 4/9. k=4: 1, 1, 0.
    assert pass_at_k(CORRECT, 1).value == pytest.approx(1 / 4)
    assert pass_at_k(CORRECT, 2).value == pytest.approx(4 / 9)
    assert pass_at_k(CORRECT, 4).value == pytest.approx(2 / 3)
    with pytest.raises(ValueError, match=r"k=5 must be in \[1, 4\]"):
        pass_at_k(CORRECT, 5)


@pytest.mark.parametrize(
    ("answers", "correct", "right"),
    [
        (["7", "8", "7"], [True, False, True], 1),  # two of three
        (["8", "8", "7"], [False, False, True], 0),
        (["7", "8"], [True, False], 1 / 2),  # a tie is split, whichever came first
        (["8", "7"], [False, True], 1 / 2),
        (["8", "7", "9", "8", "7"], [False, True, False, False, True], 1 / 2),  # 8 and 7 twice each
        (["7", "8", "9"], [True, False, False], 1 / 3),
        ([None, None, "7"], [False, False, True], 1),  # no answer, no vote
        ([None, None], [False, False], 0),
    ],
)
def test_cons_at_k(answers, correct, right):
    assert cons_at_k([answers], [correct]).value == right


def test_the_interval_is_over_problems():
    # n = 400 problems, half of them solved: the mean's standard deviation is 0.5 / 20 = 0.025, so about 0.5 -+ 1.96 * 0.025.
    value, low, high = bootstrap([0.0, 1.0] * 200)
    assert value == 0.5
    assert (low, high) == pytest.approx((0.451, 0.549), abs=0.008)
    # Sampling the same two problems 32 times tells nothing of other problems: as wide as it gets.
    assert avg_at_k([[True] * 32, [False] * 32]) == (0.5, 0.0, 1.0)
    assert bootstrap([0.25, 0.25]) == (0.25, 0.25, 0.25)


@dataclass
class TableEngine:
    """Answers prompt [a, b] with "a+b=" and a sum that is right for even response numbers only; records what it was asked."""

    calls: list

    def generate(self, prompts, group_size, sampling, seeds):
        self.calls.append((prompts, group_size, sampling, seeds))
        rows = [[f"{a}+{b}={a + b + g % 2}" for g in range(group_size)] for a, b in prompts]
        shape = (len(prompts), group_size)
        return TensorDict(
            {
                "response_text": text_entry(rows),
                "truncated": torch.tensor([[False] * (group_size - 1) + [True]] * len(prompts)),
                "response_length": torch.arange(1, group_size + 1).expand(shape),
            },
            batch_size=shape,
        )


def problems(count):
    """The last one is called hard, the others have no name for their difficulty."""
    return [
        EncodedProblem(tokens=[i, 1], answer=str(i + 1), index=i, difficulty="hard" if i == count - 1 else "")
        for i in range(count)
    ]


def test_an_evaluation_samples_verifies_and_stamps(monkeypatch):
    monkeypatch.setattr(evaluation, "CHUNK_PROMPTS", 2)
    engine, sampling, done = TableEngine([]), Sampling(temperature=1.0, top_p=0.7, max_new_tokens=8), []
    result = evaluate(
        engine,
        problems(5),
        EquationAnswer(),
        k=3,
        sampling=sampling,
        seed=7,
        progress=done.append,
    )
    # Responses 0 and 2 of three are right and agree: avg 2/3, pass 1, cons 1. Lengths 1, 2, 3; the third is truncated.
    assert result.avg_at_k == pytest.approx((2 / 3,) * 3)
    assert (result.pass_at_k.value, result.cons_at_k.value) == (1, 1)
    assert (result.response_length, result.truncated, result.generated_tokens) == (2, pytest.approx(1 / 3), 5 * (1 + 2 + 3))
    assert done == [2, 4, 5]

    row = result.row()
    assert row["avg_at_k_difficulty_hard"] == 2 / 3
    assert (row["avg_at_k_low"], row["k"], row["problems"], row["evaluation_tokens"]) == (result.avg_at_k.low, 3, 5, 30)
    assert (row["reward_function"], row["temperature"], row["top_p"]) == ("equation_answer()", 1.0, 0.7)
    assert math.isfinite(row["evaluation_seconds"])


def test_a_problem_keeps_its_seed_whatever_the_chunks(monkeypatch):
    def seeds(chunk, seed, count=5):
        monkeypatch.setattr(evaluation, "CHUNK_PROMPTS", chunk)
        engine = TableEngine([])
        evaluate(engine, problems(count), EquationAnswer(), k=1, sampling=Sampling(), seed=seed)
        return [one for call in engine.calls for one in call[3]]

    assert seeds(2, 0) == seeds(5, 0)
    assert seeds(2, 0, count=3) == seeds(5, 0)[:3]
    assert len(set(seeds(5, 0))) == 5
    assert not set(seeds(5, 0)) & set(seeds(5, 1))


def test_ranks_that_share_the_problems_give_the_same_result_as_one():
    asked = {"k": 3, "sampling": Sampling(), "seed": 7}
    alone = evaluate(TableEngine([]), problems(5), EquationAnswer(), **asked)
    shares: dict[int, list] = {}

    def first_pass(rank):  # what each rank hands to the others
        def keep(share):
            shares[rank] = share
            return [[], []]

        with pytest.raises(IndexError):  # nothing came back
            evaluate(TableEngine([]), problems(5), EquationAnswer(), rank=rank, world_size=2, all_gather=keep, **asked)

    first_pass(0), first_pass(1)
    # rank 0 has problems 0, 2, 4 and rank 1 has 1 and 3
    assert [len(shares[rank]) for rank in (0, 1)] == [3, 2]
    engine = TableEngine([])
    gather = lambda share: [shares[0], shares[1]]  # noqa: E731
    shared = evaluate(engine, problems(5), EquationAnswer(), rank=1, world_size=2, all_gather=gather, **asked)
    assert [prompt for call in engine.calls for prompt in call[0]] == [[1, 1], [3, 1]]
    assert {**shared.row(), "evaluation_seconds": 0} == {**alone.row(), "evaluation_seconds": 0}


def test_an_empty_evaluation_is_refused():
    with pytest.raises(ValueError, match="at least one problem and k >= 1; got 0 problems and k=4"):
        evaluate(TableEngine([]), [], EquationAnswer(), k=4, sampling=Sampling(), seed=0)
    with pytest.raises(ValueError, match=r"got shape \(0,\)"):
        avg_at_k([])
