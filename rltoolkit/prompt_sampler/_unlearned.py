"""A prompt sampler that fixes its passes beforehand, seen as one that learns: there is one contract for whoever asks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rltoolkit.prompt_sampler._learning import number, walk
from rltoolkit.prompt_sampler.base import Integers, LearningPromptSampler, PromptSampler, State


def learning(sampler: PromptSampler | LearningPromptSampler) -> LearningPromptSampler:
    """The sampler itself where it learns, else pass after pass of it."""
    return sampler if isinstance(sampler, LearningPromptSampler) else _PassAfterPass(sampler)


@dataclass(frozen=True)
class _PassAfterPass:
    """State: the place in the passes."""

    sampler: PromptSampler

    def start(self, size: int, seed: int) -> State:
        return {"seed": number(seed), "place": number(0), "size": number(size)}

    def order(self, state: State, count: int) -> Integers:
        return walk(self.sampler, state, int(state["size"]), count, lambda epoch, problems: np.ones(len(problems), dtype=bool))[0]

    def observe(self, state: State, problem_index: Integers, correct: Integers, group_size: Integers) -> State:
        return {**state, "place": state["place"] + len(problem_index)}

    def metrics(self, state: State) -> dict[str, float]:
        return {}
