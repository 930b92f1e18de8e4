"""What the samples of one model amount to, and how models differ on the same problems.

avg@k, pass@k for k = 1, 2, 4 ... and cons@k are means over problems of the scores in ``rltoolkit.evaluation``; their 95 % intervals are
expanded bootstrap percentiles over problems (``rltoolkit.report.statistics.mean_interval``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rltoolkit.evaluation import majority_votes, pass_chances
from rltoolkit.evaluations.samples import Sample
from rltoolkit.report.statistics import Interval, PairedDifference, holm, mean_interval, paired_difference

FEWEST_PROBLEMS = 6
"""Below it the paired t-test says too little: it rests on differences that are close to normal."""


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Of one model; shares in [0, 1], lengths in tokens."""

    k: int
    accuracy: dict[int, float]
    """avg@k of each problem"""
    avg_at_k: Interval
    pass_at: dict[int, Interval]
    """pass@j by j"""
    cons_at_k: Interval
    """not a number where the verifier extracts no answers"""
    by_difficulty: dict[str, Interval]
    """avg@k over the problems of each difficulty"""
    sizes: dict[str, int]
    """problems of each difficulty"""
    response_length: float
    truncated: float

    def record(self) -> dict[str, Any]:
        """As values of JSON; what is not a number is null."""
        return {
            "k": self.k,
            "problems": len(self.accuracy),
            "avg_at_k": _plain(self.avg_at_k),
            "pass_at": {str(k): _plain(interval) for k, interval in self.pass_at.items()},
            "cons_at_k": _plain(self.cons_at_k),
            "response_length": self.response_length,
            "truncated": self.truncated,
            "accuracy_by_difficulty": {name: _plain(interval) for name, interval in self.by_difficulty.items()},
            "accuracy_by_problem": {str(problem): accuracy for problem, accuracy in self.accuracy.items()},
        }


def score(groups: Mapping[int, Sequence[Sample]], difficulties: Mapping[int, str], *, votes: bool) -> Scores:
    """Scores of k samples of each problem.

    Args:
        groups: by problem, at least one.
        difficulties: of each problem; empty texts where it has none.
        votes: whether the verifier extracts answers.
    """
    problems = sorted(groups)
    samples = [sample for problem in problems for sample in groups[problem]]
    correct = [[sample.correct for sample in groups[problem]] for problem in problems]
    answers = [[sample.answer for sample in groups[problem]] for problem in problems]
    k, accuracy = len(correct[0]), dict(zip(problems, np.mean(correct, axis=1).tolist(), strict=True))
    graded: dict[str, list[float]] = {}
    for problem in problems:
        if difficulties[problem]:
            graded.setdefault(difficulties[problem], []).append(accuracy[problem])
    return Scores(
        k=k,
        accuracy=accuracy,
        avg_at_k=mean_interval(list(accuracy.values())),
        pass_at={j: mean_interval(pass_chances(correct, j)) for j in powers_of_two(k)},
        cons_at_k=mean_interval(majority_votes(answers, correct) if votes else []),
        by_difficulty={name: mean_interval(graded[name]) for name in sorted(graded)},
        sizes={name: len(graded[name]) for name in sorted(graded)},
        response_length=sum(sample.tokens for sample in samples) / len(samples),
        truncated=sum(sample.truncated for sample in samples) / len(samples),
    )


def powers_of_two(k: int) -> list[int]:
    """1, 2, 4 ... and k itself."""
    return sorted({2**power for power in range(k.bit_length())} | {k})


def differences(scores: Sequence[Scores]) -> list[PairedDifference]:
    """avg@k of each model but the first, less the first one's, over the problems that both answered; p corrected by Holm."""
    first, *others = (each.accuracy for each in scores)
    found = []
    for other in others:
        shared = sorted(first.keys() & other.keys())
        found.append(paired_difference([other[problem] for problem in shared], [first[problem] for problem in shared]))
    corrected = holm([each.p if each.pairs >= FEWEST_PROBLEMS else math.nan for each in found])
    return [each._replace(p=p) for each, p in zip(found, corrected, strict=True)]


def difference_record(difference: PairedDifference) -> dict[str, Any]:
    """As values of JSON."""
    p = None if math.isnan(difference.p) else difference.p
    mean = {"mean": difference.mean, "low": difference.low, "high": difference.high}
    return {**_plain(Interval(**mean)), "p_holm": p, "problems_above": difference.above, "problems": difference.pairs}


def _plain(interval: Interval) -> dict[str, float | None]:
    return {name: None if math.isnan(value) else float(value) for name, value in interval._asdict().items()}
