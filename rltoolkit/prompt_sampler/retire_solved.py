"""Retire solved: a problem that the policy answers right nearly always is never asked again.

    retired for good once (number correct) / G >= pass_rate

The rest comes in shuffled passes; until the first problem retires the order is that of ``prompt_sampler=shuffled``. When all
problems are retired the run ends.

Source: ScaleRL, arXiv:2510.13786, no-positive-resampling. Config: ``prompt_sampler=retire_solved``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rltoolkit.component import check
from rltoolkit.prompt_sampler._learning import number, walk
from rltoolkit.prompt_sampler.base import Integers, State
from rltoolkit.prompt_sampler.shuffled import Shuffled
from rltoolkit.registry import register


@register("prompt_sampler", "retire_solved")
@dataclass(frozen=True, kw_only=True)
class RetireSolved:
    """State: the place in the passes, and which problems are retired, [size].

    Args:
        pass_rate: the share of right responses from which on a problem is solved, in (0, 1].
    """

    pass_rate: float = 0.9

    def __post_init__(self) -> None:
        check(self, "pass_rate", 0 < self.pass_rate <= 1, "in (0, 1]")

    def start(self, size: int, seed: int) -> State:
        """See ``LearningPromptSampler``."""
        return {"seed": number(seed), "place": number(0), "retired": np.zeros(size, dtype=bool)}

    def order(self, state: State, count: int) -> Integers:
        """See ``LearningPromptSampler``."""
        return self._walk(state, 0 if state["retired"].all() else count)[0]

    def observe(self, state: State, problem_index: Integers, correct: Integers, group_size: Integers) -> State:
        """See ``LearningPromptSampler``."""
        retired = state["retired"].copy()
        retired[problem_index[correct / group_size >= self.pass_rate]] = True
        return {**state, "place": number(self._walk(state, len(problem_index))[1]), "retired": retired}

    def metrics(self, state: State) -> dict[str, float]:
        """How many problems are retired."""
        return {"prompts_retired": float(state["retired"].sum())}

    def _walk(self, state: State, count: int) -> tuple[Integers, int]:
        retired = state["retired"]
        return walk(Shuffled(), state, len(retired), count, lambda epoch, problems: ~retired[problems])
