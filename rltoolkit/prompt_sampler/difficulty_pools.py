"""Difficulty pools: problems are sorted by how their last group went, and each pool has a weight.

    pool of a problem = the first i with (number correct) / G of its last group <= bounds[i]
    order: drawn one after another without replacement, each time with probability proportional to weights[pool];
    those not asked yet have the weight ``unseen``

A weight of 0 takes a pool out. When all problems are in such pools the run ends.

Source: none; the task sampler with pools of prime-rl (github.com/PrimeIntellect-ai/prime-rl), which draws with replacement; the draw
without is that of Efraimidis and Spirakis, Information Processing Letters 97 (2006): the largest u^(1 / weight), u uniform in (0, 1).
Config: ``prompt_sampler=difficulty_pools``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rltoolkit.component import check
from rltoolkit.prompt_sampler._learning import generator, number, pass_after_pass
from rltoolkit.prompt_sampler.base import Integers, State
from rltoolkit.registry import register

UNSEEN = -1


@register("prompt_sampler", "difficulty_pools")
@dataclass(frozen=True, kw_only=True)
class DifficultyPools:
    """State: the pool of each problem, [size], -1 where it was not asked yet, and the number of rollout steps.

    Args:
        bounds: the highest accuracy of each pool, rising, the last one 1.
        weights: of the pools, at least 0.
        unseen: the weight of problems that were not asked yet, greater than 0.
    """

    bounds: tuple[float, ...] = (0.25, 0.75, 1.0)
    weights: tuple[float, ...] = (0.2, 1.0, 0.2)
    unseen: float = 1.0

    def __post_init__(self) -> None:
        rising = all(low < high for low, high in zip((-1.0, *self.bounds), self.bounds, strict=False))
        check(self, "bounds", rising and self.bounds[-1:] == (1.0,), "rising and end with 1")
        check(self, "weights", all(weight >= 0 for weight in self.weights), "at least 0")
        check(self, "weights", len(self.weights) == len(self.bounds), f"as many as bounds={self.bounds}")
        check(self, "unseen", self.unseen > 0, "greater than 0")

    def start(self, size: int, seed: int) -> State:
        """See ``LearningPromptSampler``."""
        return {"seed": number(seed), "step": number(0), "pool": np.full(size, UNSEEN, dtype=np.int16)}

    def order(self, state: State, count: int) -> Integers:
        """See ``LearningPromptSampler``."""
        weights = self.weights_of(state)
        possible = np.flatnonzero(weights)

        def one_pass(number: int) -> Integers:
            # log u^(1 / weight), with -log u from an exponential distribution
            key = -generator(state, number).exponential(size=len(weights))[possible] / weights[possible]
            first = np.argpartition(-key, count)[:count] if count < len(key) else np.arange(len(key))
            return possible[first[np.argsort(-key[first], kind="stable")]]

        return pass_after_pass(count, one_pass)

    def observe(self, state: State, problem_index: Integers, correct: Integers, group_size: Integers) -> State:
        """See ``LearningPromptSampler``."""
        pool = state["pool"].copy()
        pool[problem_index] = np.searchsorted(self.bounds, correct / group_size)  # of several groups the last one counts
        return {**state, "step": state["step"] + 1, "pool": pool}

    def metrics(self, state: State) -> dict[str, float]:
        """How many problems are in each pool."""
        return {f"prompts_pool_{index}": float((state["pool"] == index).sum()) for index in range(len(self.bounds))}

    def weights_of(self, state: State) -> NDArray[np.float64]:
        """The weight of each problem, [size]."""
        return np.array([*self.weights, self.unseen])[state["pool"]]  # -1 is the last one
