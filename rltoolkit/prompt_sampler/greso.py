"""GRESO: a problem whose last groups were all right, or all wrong, is probably so again, and is passed over now and then.

    c = number of a problem's last groups, in a row, that were all right (easy) or all wrong (hard)
    asked in a pass with probability max(p^c, floor),    p = p_easy or p_hard
    after each rollout step p_easy falls by ``step`` if at least a third of ``target`` of its groups were all right, else it rises;
    p_hard likewise with the groups that were all wrong and the other two thirds; both stay in [0.05, 0.95]

Problems come in shuffled passes, all of them in the first one, whose order is that of ``prompt_sampler=shuffled``; p_easy and p_hard
stand still until it is over.

Source: GRESO, arXiv:2506.02177, and its code (github.com/Infini-AI-Lab/GRESO) for the shares, the step and the bounds.
Config: ``prompt_sampler=greso``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rltoolkit.component import check
from rltoolkit.prompt_sampler._learning import number, rounds, walk
from rltoolkit.prompt_sampler.base import Integers, State
from rltoolkit.prompt_sampler.shuffled import Shuffled
from rltoolkit.registry import register

LOWEST, HIGHEST = 0.05, 0.95
"""The bounds of p."""


@register("prompt_sampler", "greso")
@dataclass(frozen=True, kw_only=True)
class GRESO:
    """State: the place in the passes, c with a minus where hard, [size], and the two probabilities.

    Args:
        p_easy: at the start, in (0, 1].
        p_hard: at the start, in (0, 1].
        target: the share of groups, easy or hard, that are sampled all the same, in [0, 1].
        step: by which p_easy and p_hard change, in [0, 1].
        floor: the least probability of being asked, in (0, 1].
    """

    p_easy: float = 0.5
    p_hard: float = 0.5
    target: float = 0.25
    step: float = 0.01
    floor: float = 0.01

    def __post_init__(self) -> None:
        check(self, "p_easy", 0 < self.p_easy <= 1, "in (0, 1]")
        check(self, "p_hard", 0 < self.p_hard <= 1, "in (0, 1]")
        check(self, "target", 0 <= self.target <= 1, "in [0, 1]")
        check(self, "step", 0 <= self.step <= 1, "in [0, 1]")
        check(self, "floor", 0 < self.floor <= 1, "in (0, 1]")

    def start(self, size: int, seed: int) -> State:
        """See ``LearningPromptSampler``."""
        return {
            "seed": number(seed),
            "place": number(0),
            "in_a_row": np.zeros(size, dtype=np.int64),
            "p_easy": number(self.p_easy),
            "p_hard": number(self.p_hard),
        }

    def order(self, state: State, count: int) -> Integers:
        """See ``LearningPromptSampler``."""
        return self._walk(state, count)[0]

    def observe(self, state: State, problem_index: Integers, correct: Integers, group_size: Integers) -> State:
        """See ``LearningPromptSampler``."""
        easy, hard = correct == group_size, correct == 0
        in_a_row = state["in_a_row"].copy()
        for part in rounds(problem_index):
            before = in_a_row[problem_index[part]]
            longer = np.where(easy[part], np.maximum(before, 0) + 1, np.minimum(before, 0) - 1)
            in_a_row[problem_index[part]] = np.where(easy[part] | hard[part], longer, 0)
        place = self._walk(state, len(problem_index))[1]
        changed: dict[str, NDArray[np.float64]] = {}
        if len(problem_index) and place > len(in_a_row):
            changed["p_easy"] = self._adapted(state["p_easy"], easy.mean() >= self.target / 3)
            changed["p_hard"] = self._adapted(state["p_hard"], hard.mean() >= self.target * 2 / 3)
        return {**state, "place": number(place), "in_a_row": in_a_row, **changed}

    def metrics(self, state: State) -> dict[str, float]:
        """The two probabilities."""
        return {"prompts_p_easy": float(state["p_easy"]), "prompts_p_hard": float(state["p_hard"])}

    def chance(self, state: State, problems: Integers) -> NDArray[np.float64]:
        """The probability of each of these problems, [n], to be asked when its turn comes."""
        in_a_row = state["in_a_row"][problems]
        p = np.where(in_a_row > 0, state["p_easy"], state["p_hard"])
        return np.maximum(p ** np.abs(in_a_row), self.floor)

    def _walk(self, state: State, count: int) -> tuple[Integers, int]:
        size, seed = len(state["in_a_row"]), int(state["seed"])

        def asked(epoch: int, problems: Integers) -> NDArray[np.bool_]:
            return np.random.default_rng([seed, epoch]).random(size)[problems] < self.chance(state, problems)

        return walk(Shuffled(), state, size, count, asked)

    def _adapted(self, p: NDArray[np.float64], too_many: bool) -> NDArray[np.float64]:
        return np.clip(p - self.step if too_many else p + self.step, LOWEST, HIGHEST)
