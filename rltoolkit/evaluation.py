"""Evaluation: avg@k, pass@k and cons@k, each with a bootstrap interval over problems.

    avg@k  = mean over problems of (right responses / responses)
    pass@k = mean over problems of 1 - C(n - c, k) / C(n, k),   c right ones among n responses
    cons@k = mean over problems of the share of right answers among the most frequent extracted ones: 0 or 1, ties apart

The paper samples every problem k = 32 times at temperature 1.0 and top-p 0.7. What was asked (sampling, verifier) is part of
the result, since numbers of different protocols do not compare.

Source: DAPO, arXiv:2503.14476, section 4.1 (avg@32); pass@k: Chen et al., arXiv:2107.03374, eq. 1; cons@k: majority vote of
Wang et al., arXiv:2203.11171.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from rltoolkit.collector.prompt_stream import EncodedProblem
from rltoolkit.component import described
from rltoolkit.reward_function.base import RewardFunction, extractor_of
from rltoolkit.rollout_batch import text_list
from rltoolkit.rollout_engine.base import RolloutEngine, Sampling

if TYPE_CHECKING:
    from tensordict import TensorDict

RESAMPLES = 2000
CHUNK_PROMPTS = 64


class Estimate(NamedTuple):
    """A mean over problems and its 95 % interval, all in [0, 1]."""

    value: float
    low: float
    high: float


def avg_at_k(correct: ArrayLike) -> Estimate:
    """Mean accuracy of ``correct`` [problems, k] bool."""
    return bootstrap(_verdicts(correct).mean(1))


def pass_at_k(correct: ArrayLike, k: int) -> Estimate:
    """Chance that at least one of k responses is right: ``correct`` [problems, n] bool. Raises ValueError as ``pass_chances`` does."""
    return bootstrap(pass_chances(correct, k))


def pass_chances(correct: ArrayLike, k: int) -> list[float]:
    """pass@k of each problem, unbiased from n >= k responses: ``correct`` [problems, n] bool.

    Raises:
        ValueError: k is not in [1, n].
    """
    verdicts = _verdicts(correct)
    n = verdicts.shape[1]
    if not 1 <= k <= n:
        raise ValueError(f"pass@k: k={k} must be in [1, {n}], the number of responses to each problem")
    return [1 - math.comb(n - int(c), k) / math.comb(n, k) for c in verdicts.sum(1)]


def cons_at_k(answers: Sequence[Sequence[str | None]], correct: ArrayLike) -> Estimate:
    """Accuracy of the majority vote: ``answers`` [problems][k] extracted (None: nothing found), ``correct`` [problems, k]."""
    return bootstrap(majority_votes(answers, correct))


def majority_votes(answers: Sequence[Sequence[str | None]], correct: ArrayLike) -> list[float]:
    """cons@k of each problem; see ``cons_at_k``.

    Responses without an answer do not vote. Ties are split: of m equally frequent answers each counts 1 / m, as if one were drawn.
    """
    return [_vote(*problem) for problem in zip(answers, _verdicts(correct), strict=True)]


def bootstrap(scores: ArrayLike) -> Estimate:
    """Mean of one score for each problem, with the 2.5th and 97.5th percentile of its bootstrap distribution.

    The resamples are always the same ones, so that equal scores give equal intervals. Equal scores of all problems give an
    interval of width zero: resampling cannot see what never occurred.
    """
    scores = np.asarray(scores, dtype=float)
    draws = np.random.default_rng(0)
    means = [draws.choice(scores, len(scores)).mean() for _ in range(RESAMPLES)]
    low, high = np.quantile(means, [0.025, 0.975])
    return Estimate(float(scores.mean()), float(low), float(high))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluation:
    """The result of one evaluation, with the protocol that gave it."""

    avg_at_k: Estimate
    pass_at_k: Estimate
    cons_at_k: Estimate
    """not a number where the reward function extracts no answers"""
    k: int
    problems: int
    response_length: float
    """mean, in tokens"""
    truncated: float
    """share of responses that the length limit stopped"""
    seconds: float
    generated_tokens: int
    accuracy_by_difficulty: dict[str, float]
    """avg@k over the problems of each difficulty, in the order of their names; empty where the task grades none"""
    reward_function: str
    """the verifier and its hyperparameters, ``integer_answer(window=300)``"""
    sampling: Sampling

    def line(self) -> str:
        """The result in a line, for people."""
        average = self.avg_at_k
        return (
            f"avg@{self.k} {average.value:.3f} [{average.low:.3f}, {average.high:.3f}]  pass@{self.k} {self.pass_at_k.value:.3f}  "
            f"cons@{self.k} {self.cons_at_k.value:.3f}  truncated {self.truncated:.3f}"
        )

    def row(self) -> dict[str, float | int | str]:
        """One flat row for CSV or JSON; ``evaluation_seconds`` and ``evaluation_tokens`` are what the evaluation itself cost."""
        columns: dict[str, float | int | str] = {}
        for name in ("avg_at_k", "pass_at_k", "cons_at_k"):
            estimate = getattr(self, name)
            columns |= {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
        return {
            **columns,
            "k": self.k,
            "problems": self.problems,
            "response_length": self.response_length,
            "truncated": self.truncated,
            "evaluation_seconds": self.seconds,
            "evaluation_tokens": self.generated_tokens,
            **{f"avg_at_k_difficulty_{name}": accuracy for name, accuracy in self.accuracy_by_difficulty.items()},
            "reward_function": self.reward_function,
            **{name: getattr(self.sampling, name) for name in ("temperature", "top_p", "max_new_tokens")},
        }


class Judged(NamedTuple):
    """What became of one problem's k responses."""

    correct: list[bool]
    answers: list[str | None]
    truncated: int
    tokens: int


def evaluate(
    engine: RolloutEngine,
    problems: Sequence[EncodedProblem],
    reward_function: RewardFunction,
    *,
    k: int,
    sampling: Sampling,
    seed: int,
    rank: int = 0,
    world_size: int = 1,
    all_gather: Callable[[Any], list[Any]] = lambda item: [item],
    progress: Callable[[int], None] = lambda done: None,
) -> Evaluation:
    """Sample every problem k times and score the responses.

    Args:
        engine: holds the policy.
        problems: P of them, at least one.
        reward_function: the verifier; only its verdict counts here, not its reward. One without ``extract`` gives no cons@k.
        k: responses to each problem, at least 1.
        sampling: how they are drawn.
        seed: problem p is sampled with a seed that depends on this one and p alone, whoever samples it.
        rank, world_size, all_gather: problems are dealt to the ranks in turn; ``all_gather`` collects one Python object from each
            rank, in their order. Every rank returns the same result.
        progress: called after each chunk with the number of problems that this rank has done.

    Raises:
        ValueError: no problems, or k below 1.
    """
    if not problems or k < 1:
        raise ValueError(f"an evaluation needs at least one problem and k >= 1; got {len(problems)} problems and k={k}")
    start = time.perf_counter()
    seeds = problem_seeds(seed, len(problems))
    mine, judged = range(rank, len(problems), world_size), list[Judged]()
    for first in range(0, len(mine), CHUNK_PROMPTS):
        chunk = mine[first : first + CHUNK_PROMPTS]
        prompts = [problems[index].tokens for index in chunk]
        rollouts = engine.generate(prompts, k, sampling, [seeds[index] for index in chunk])
        judged += _judge(rollouts, [problems[index].answer for index in chunk], reward_function)
        progress(len(judged))
    shares = all_gather(judged)
    everything = [shares[index % world_size][index // world_size] for index in range(len(problems))]
    correct, answers = [each.correct for each in everything], [each.answers for each in everything]
    truncated, tokens = sum(each.truncated for each in everything), sum(each.tokens for each in everything)
    return Evaluation(
        avg_at_k=avg_at_k(correct),
        pass_at_k=pass_at_k(correct, k),
        cons_at_k=cons_at_k(answers, correct) if extractor_of(reward_function) else Estimate(math.nan, math.nan, math.nan),
        k=k,
        problems=len(problems),
        response_length=tokens / (len(problems) * k),
        truncated=truncated / (len(problems) * k),
        seconds=time.perf_counter() - start,
        generated_tokens=tokens,
        accuracy_by_difficulty=_by_difficulty(problems, correct),
        reward_function=described(reward_function),
        sampling=sampling,
    )


def problem_seeds(seed: int, count: int) -> list[int]:
    """The seed of each problem, by its place alone; the engine makes one of each response from it and the response's number."""
    return np.random.SeedSequence(seed).generate_state(count).tolist()


def _judge(rollouts: TensorDict, answers: Sequence[str], reward_function: RewardFunction) -> list[Judged]:
    """The k responses [P, k] to each of P problems."""
    k, texts = rollouts.shape[1], text_list(rollouts, "response_text")
    correct = reward_function(texts, [answer for answer in answers for _ in range(k)]).correct.view(-1, k).tolist()
    extract = extractor_of(reward_function)
    found = [extract(text) if extract is not None else None for text in texts]
    truncated, tokens = rollouts["truncated"].sum(1).tolist(), rollouts["response_length"].sum(1).tolist()
    return [Judged(correct[row], found[row * k : (row + 1) * k], truncated[row], tokens[row]) for row in range(len(answers))]


def _by_difficulty(problems: Sequence[EncodedProblem], correct: list[list[bool]]) -> dict[str, float]:
    """avg@k over the problems that share a difficulty, where the task names one."""
    found: dict[str, list[bool]] = {}
    for problem, verdicts in zip(problems, correct, strict=True):
        if problem.difficulty:
            found.setdefault(problem.difficulty, []).extend(verdicts)
    return {name: sum(found[name]) / len(found[name]) for name in sorted(found)}


def _verdicts(correct: ArrayLike) -> np.ndarray:
    verdicts = np.asarray(correct, dtype=bool)
    if verdicts.ndim != 2 or 0 in verdicts.shape:
        raise ValueError(f"verdicts must be [problems, k], at least one of each; got shape {verdicts.shape}")
    return verdicts


def _vote(answers: Sequence[str | None], correct: np.ndarray) -> float:
    votes = Counter(answer for answer in answers if answer is not None)
    most = max(votes.values(), default=0)
    winners = [answer for answer, count in votes.items() if count == most]
    return sum(bool(correct[list(answers).index(winner)]) for winner in winners) / max(1, len(winners))
