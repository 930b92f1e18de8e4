"""Predicted dynamics (DPS): a hidden Markov model of each problem says how likely its next group is mixed.

    states: 0 = all wrong, 1 = mixed, 2 = all right; a group shows the state as it is
    transitions j -> i of a problem ~ Dirichlet with counts a[i, j], at first a0 = ``prior``;   P[i, j] = a[i, j] / sum_i a[i, j]
    b = distribution of the state at the last rollout step, at first uniform;   predicted for the next one:  q = P b
    a group in state o:      a <- decay a + (1 - decay) a0, and a[o, j] += P[o, j] b[j] / sum_j P[o, j] b[j];   b <- one-hot at o
    a step without a group:  a <- decay a + (1 - decay) a0;   b <- q
    order: of ``candidate_ratio`` P problems, drawn uniformly, those with the highest q[1] first

A step that needs more than those goes on with the next candidates. A problem that was never asked has q = (1/3, 1/3, 1/3), and comes
after those that are probably mixed and before those that are probably not.

Source: DPS, arXiv:2603.10887, and its code (github.com/maoyixiu/DPS). Config: ``prompt_sampler=predicted_dynamics``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rltoolkit.component import check, follows
from rltoolkit.prompt_sampler._learning import best_candidates, number, rounds
from rltoolkit.prompt_sampler.base import Integers, State
from rltoolkit.registry import register

ALL_WRONG, MIXED, ALL_RIGHT = 0, 1, 2

Floats = NDArray[np.float32]


@register("prompt_sampler", "predicted_dynamics")
@dataclass(frozen=True, kw_only=True)
class PredictedDynamics:
    """State: a, [size, 3, 3], and b, [size, 3], who was asked, the number of rollout steps, and what was predicted for the last.

    Args:
        prior: a0, the same for all transitions; greater than 0.
        decay: of the counts with every rollout step, in [0, 1].
        candidate_ratio: problems that are compared for each one needed, at least 1; the larger, the fewer problems are ever asked.
        prompts_per_step: P, the groups that a rollout step needs.
    """

    prior: float = 1.0
    decay: float = 0.5
    candidate_ratio: int = 8
    prompts_per_step: int = follows("prompts_per_step", 512)

    def __post_init__(self) -> None:
        check(self, "prior", self.prior > 0, "greater than 0")
        check(self, "decay", 0 <= self.decay <= 1, "in [0, 1]")
        check(self, "candidate_ratio", self.candidate_ratio >= 1, "at least 1")
        check(self, "prompts_per_step", self.prompts_per_step >= 1, "at least 1")

    def start(self, size: int, seed: int) -> State:
        """See ``LearningPromptSampler``."""
        return {
            "seed": number(seed),
            "step": number(0),
            "a": np.full((size, 3, 3), self.prior, dtype=np.float32),
            "b": np.full((size, 3), 1 / 3, dtype=np.float32),
            "asked": np.zeros(size, dtype=bool),
            "predicted_mixed": number(1 / 3),
        }

    def order(self, state: State, count: int) -> Integers:
        """See ``LearningPromptSampler``."""

        def mixed(candidates: Integers, random: np.random.Generator) -> Floats:
            return self.predicted(state, candidates)[:, MIXED]

        return best_candidates(state, len(state["asked"]), count, self.candidate_ratio * self.prompts_per_step, mixed)

    def observe(self, state: State, problem_index: Integers, correct: Integers, group_size: Integers) -> State:
        """See ``LearningPromptSampler``."""
        after = {**state, "step": state["step"] + 1, **{name: state[name].copy() for name in ("a", "b", "asked")}}
        if len(problem_index):
            after["predicted_mixed"] = number(self.predicted(state, problem_index)[:, MIXED].mean())
        shown = np.where(correct == 0, ALL_WRONG, np.where(correct == group_size, ALL_RIGHT, MIXED))
        for part in rounds(problem_index):
            self._group(after, problem_index[part], shown[part])
        after["asked"][problem_index] = True
        # who was never asked would stay as it is: a0 decays to a0, and P b is uniform
        without = state["asked"].copy()
        without[problem_index] = False
        self._no_group(after, np.flatnonzero(without))
        return after

    def metrics(self, state: State) -> dict[str, float]:
        """What share of the last rollout step's groups was expected to be mixed."""
        return {"prompts_predicted_mixed": float(state["predicted_mixed"])}

    def predicted(self, state: State, which: Integers) -> Floats:
        """q of some problems, [n, 3]."""
        return np.einsum("nij,nj->ni", _probabilities(state["a"][which]), state["b"][which])

    def _group(self, after: dict[str, Floats], which: Integers, shown: Integers) -> None:
        rows = np.arange(len(which))
        a = after["a"][which]
        came_from = _probabilities(a)[rows, shown] * after["b"][which]
        a = self._decayed(a)
        a[rows, shown] += came_from / came_from.sum(1, keepdims=True)
        after["a"][which], after["b"][which] = a, np.eye(3, dtype=np.float32)[shown]

    def _no_group(self, after: dict[str, Floats], which: Integers) -> None:
        predicted = self.predicted(after, which)
        after["a"][which], after["b"][which] = self._decayed(after["a"][which]), predicted

    def _decayed(self, a: Floats) -> Floats:
        return self.decay * a + np.float32((1 - self.decay) * self.prior)


def _probabilities(a: Floats) -> Floats:
    """P of the counts [n, 3, 3]: its columns add up to 1."""
    return a / a.sum(1, keepdims=True)
