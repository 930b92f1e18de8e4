"""Thompson sampling of pass rates (MoPPS): ask where a draw from what is believed of the pass rate comes close to one half.

    pass rate of a problem ~ Beta(alpha, beta), at first Beta(1, 1)
    after a group with s of G responses right:  alpha <- decay alpha + (1 - decay) + s
                                                beta  <- decay beta  + (1 - decay) + (G - s)
    order: of ``candidate_ratio`` P problems, drawn uniformly, those with the smallest |r - target| first, r ~ Beta(alpha, beta)

A step that needs more than those goes on with the next candidates. decay = 1 for a policy that stands still; the policy learns, so
below 1 old groups count less.

Source: MoPPS, arXiv:2507.04632, whose code (github.com/thu-rllab/MoPPS) takes decay 0.5 for Countdown and 1 for mathematics.
Config: ``prompt_sampler=thompson``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rltoolkit.component import check, follows
from rltoolkit.prompt_sampler._learning import best_candidates, number, rounds
from rltoolkit.prompt_sampler.base import Integers, State
from rltoolkit.registry import register


@register("prompt_sampler", "thompson")
@dataclass(frozen=True, kw_only=True)
class Thompson:
    """State: alpha and beta, [size], the number of rollout steps, and how far the last one was from what was believed.

    Args:
        target: the pass rate that teaches most, in [0, 1].
        decay: of what earlier groups have said, for each group of the problem, in [0, 1].
        candidate_ratio: problems that are compared for each one needed, at least 1; the larger, the fewer problems are ever asked.
        prompts_per_step: P, the groups that a rollout step needs.
    """

    target: float = 0.5
    decay: float = 0.5
    candidate_ratio: int = 8
    prompts_per_step: int = follows("prompts_per_step", 512)

    def __post_init__(self) -> None:
        check(self, "target", 0 <= self.target <= 1, "in [0, 1]")
        check(self, "decay", 0 <= self.decay <= 1, "in [0, 1]")
        check(self, "candidate_ratio", self.candidate_ratio >= 1, "at least 1")
        check(self, "prompts_per_step", self.prompts_per_step >= 1, "at least 1")

    def start(self, size: int, seed: int) -> State:
        """See ``LearningPromptSampler``."""
        return {"seed": number(seed), "step": number(0), "alpha": np.ones(size), "beta": np.ones(size), "error": number(0.0)}

    def order(self, state: State, count: int) -> Integers:
        """See ``LearningPromptSampler``."""

        def closeness(candidates: Integers, random: np.random.Generator) -> NDArray[np.float64]:
            return -np.abs(random.beta(state["alpha"][candidates], state["beta"][candidates]) - self.target)

        return best_candidates(state, len(state["alpha"]), count, self.candidate_ratio * self.prompts_per_step, closeness)

    def observe(self, state: State, problem_index: Integers, correct: Integers, group_size: Integers) -> State:
        """See ``LearningPromptSampler``."""
        alpha, beta, errors = state["alpha"].copy(), state["beta"].copy(), np.empty(len(problem_index))
        for part in rounds(problem_index):
            which, right, wrong = problem_index[part], correct[part], (group_size - correct)[part]
            errors[part] = np.abs(alpha[which] / (alpha[which] + beta[which]) - right / group_size[part])
            alpha[which] = self.decay * alpha[which] + (1 - self.decay) + right
            beta[which] = self.decay * beta[which] + (1 - self.decay) + wrong
        error = number(errors.mean()) if len(errors) else state["error"]
        return {**state, "step": state["step"] + 1, "alpha": alpha, "beta": beta, "error": error}

    def metrics(self, state: State) -> dict[str, float]:
        """How far the pass rates of the last rollout step were from their expectation."""
        return {"prompts_pass_rate_error": float(state["error"])}
