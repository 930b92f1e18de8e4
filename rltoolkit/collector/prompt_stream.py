"""The stream of prompts: pass after pass over a task's problems, without end; each position has a problem and a random seed.

Both are pure functions of the position and the run's seed, so ranks that share the stream need not talk about it, and a run that
continues needs the position and nothing else.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from rltoolkit.task.base import Problem

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class EncodedProblem:
    """A prompt as token ids, with its reference answer and its row in the task."""

    tokens: list[int]
    answer: str
    index: int


def encode_problems(
    problems: Sequence[Problem], encode: Callable[[Problem], list[int]], max_prompt_tokens: int, split: str = "training"
) -> list[EncodedProblem]:
    """Token ids of the prompts, in the order of ``problems``, each with its row there as ``index``.

    A prompt of more than ``max_prompt_tokens`` tokens leaves the engine too little room for a response, and one without any
    gives it nothing to begin with: both are left out, and a log line counts them.

    Args:
        problems: at least one.
        encode: a problem as prompt token ids.
        max_prompt_tokens: the longest prompt to keep.
        split: what the messages call the problems.

    Raises:
        ValueError: none is left.
    """
    encoded = [EncodedProblem(tokens=encode(each), answer=each.answer, index=row) for row, each in enumerate(problems)]
    kept = [problem for problem in encoded if 1 <= len(problem.tokens) <= max_prompt_tokens]
    empty = sum(not problem.tokens for problem in encoded)
    left_out = f"{len(encoded) - len(kept) - empty} are longer, {empty} are empty"
    if not kept:
        raise ValueError(
            f"sampling.max_prompt_tokens={max_prompt_tokens}: none of the {len(encoded)} {split} prompts can be used; {left_out}"
        )
    if len(kept) < len(encoded):
        log.info(
            "sampling.max_prompt_tokens=%d: of %d %s prompts %s; they are left out",
            max_prompt_tokens, len(encoded), split, left_out,
        )  # fmt: skip
    return kept


class PromptStream:
    """What stands at each position.

    Args:
        problems: the encoded training problems, at least one.
        prompt_sampler: the order of each pass over them; see ``PromptSampler``.
        seed: the run's.
    """

    def __init__(self, problems: Sequence[EncodedProblem], prompt_sampler: Callable[[int, int, int], Tensor], seed: int) -> None:
        self._problems, self._prompt_sampler, self._seed = problems, prompt_sampler, seed
        self._epoch, self._order = -1, list[int]()

    def problem_at(self, position: int) -> EncodedProblem:
        """The problem at a position, counted from 0."""
        epoch, offset = divmod(position, len(self._problems))
        if self._epoch != epoch:
            self._epoch, self._order = epoch, self._prompt_sampler(len(self._problems), epoch, self._seed).tolist()
        return self._problems[self._order[offset]]

    def seed_at(self, position: int) -> int:
        """The random seed at a position: splitmix64 of (run seed, position), cut to 62 bits so that seed + g stays an int64."""
        mixed = (self._seed * 0x9E3779B97F4A7C15 + position * 0xD1B54A32D192ED03 + 0x2545F4914F6CDD1D) & (2**64 - 1)
        for multiplier, shift in ((0xBF58476D1CE4E5B9, 30), (0x94D049BB133111EB, 27)):
            mixed = ((mixed ^ (mixed >> shift)) * multiplier) & (2**64 - 1)
        return (mixed ^ (mixed >> 31)) >> 2
