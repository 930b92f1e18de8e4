"""The stream of prompts, without end: each position has a problem and a random seed.

The seed is a pure function of the position and the run's seed. The problems of a rollout step are fixed when it begins, by the
prompt sampler: pass after pass over the task, or, where it learns, from what all groups of earlier steps have shown, in stream order.
"""

from __future__ import annotations

import logging
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rltoolkit.component import label
from rltoolkit.errors import ConfigError
from rltoolkit.policy.loading import encode
from rltoolkit.prompt_sampler._unlearned import learning
from rltoolkit.prompt_sampler.base import Integers, LearningPromptSampler, PromptSampler, State
from rltoolkit.task.base import Problem

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class EncodedProblem:
    """A prompt as token ids, with its reference answer, its row in the task and what the task calls its difficulty."""

    tokens: list[int]
    answer: str
    index: int
    difficulty: str = ""


def encode_problems(
    problems: Sequence[Problem], tokenizer: PreTrainedTokenizerBase, *, chat: bool, max_prompt_tokens: int, what: str = "training"
) -> list[EncodedProblem]:
    """Token ids of the prompts. Those that are empty or longer than ``max_prompt_tokens`` are left out, and the log counts them.

    Raises:
        ValueError: none is left, or ``chat`` with a tokenizer that has no template.
    """
    encoded = [
        EncodedProblem(tokens=encode(tokenizer, each.messages, chat), answer=each.answer, index=row, difficulty=each.difficulty)
        for row, each in enumerate(problems)
    ]
    lengths = [len(problem.tokens) for problem in encoded]
    kept = [problem for problem, length in zip(encoded, lengths, strict=True) if 0 < length <= max_prompt_tokens]
    too_long, empty = sum(length > max_prompt_tokens for length in lengths), lengths.count(0)
    if not kept:
        raise ValueError(
            f"sampling.max_prompt_tokens={max_prompt_tokens}: no {what} prompt is left, {too_long} are longer, {empty} are empty; "
            f"the shortest that is not empty has {min((n for n in lengths if n), default=0)} tokens. Raise the limit (with "
            "trainer.micro_batch_tokens, where a row no longer fits), or choose a preset that is made for longer prompts"
        )
    if too_long or empty:
        log.info(
            "%d of %d %s prompts are left out: %d are longer than sampling.max_prompt_tokens=%d, %d are empty",
            too_long + empty, len(encoded), what, too_long, max_prompt_tokens, empty,
        )  # fmt: skip
    return kept


class EveryPromptSolved(Exception):
    """The prompt sampler has no prompt left; a run then ends as if it had come to its last step."""


@dataclass(frozen=True, kw_only=True)
class PromptState:
    """What is known of the task's problems after some rollout steps."""

    asked: NDArray[np.bool_]
    """[size], those of which a group was sampled"""
    learned: State
    """the prompt sampler's"""


class PromptStream:
    """What stands at each position.

    Args:
        problems: the encoded training problems, at least one.
        prompt_sampler: the order in which they are asked; see ``rltoolkit.prompt_sampler``.
        seed: the run's.
    """

    def __init__(
        self, problems: Sequence[EncodedProblem], prompt_sampler: PromptSampler | LearningPromptSampler, seed: int
    ) -> None:
        self._problems, self._seed = problems, seed
        self._title, self._sampler = label(prompt_sampler), learning(prompt_sampler)
        self._first, self._order = 0, np.empty(0, dtype=np.int64)

    def start(self) -> PromptState:
        """The state before the first rollout step."""
        size = len(self._problems)
        return PromptState(asked=np.zeros(size, dtype=bool), learned=self._sampler.start(size, self._seed))

    def begin_step(
        self, state: PromptState, first: int, count: int, agree: Callable[[Integers], Integers] = lambda order: order
    ) -> None:
        """Fix the problems of a rollout step: of ``count`` positions from ``first`` on.

        ``agree`` gives every rank the first one's order. All would come to the same, were it not for processors that round otherwise.

        Raises:
            EveryPromptSolved: the prompt sampler has nothing left to ask.
        """
        self._first, self._order = first, agree(self._sampler.order(state.learned, count))
        if count and not len(self._order):
            raise EveryPromptSolved(f"every prompt is solved: {self._title} has none left of {len(self._problems):,}")

    def problem_at(self, position: int) -> EncodedProblem:
        """The problem at a position of the current rollout step."""
        return self._problems[self._order[position - self._first]]

    def observe(self, state: PromptState, correct: Sequence[int], group_size: Sequence[int]) -> PromptState:
        """The state after the first groups of the current rollout step had so many of so many responses right."""
        asked, problem_index = state.asked.copy(), self._order[: len(correct)]
        asked[problem_index] = True
        right, responses = np.array(correct, dtype=np.int64), np.array(group_size, dtype=np.int64)
        return PromptState(asked=asked, learned=self._sampler.observe(state.learned, problem_index, right, responses))

    def metrics(self, state: PromptState) -> dict[str, float]:
        """How much of the task was sampled, and what the prompt sampler has learned."""
        return {"prompts_asked": float(state.asked.sum()), **self._sampler.metrics(state.learned)}

    @cached_property
    def description(self) -> str:
        """Sampler and problems in a few words that tell them from others."""
        digest = blake2b(digest_size=4)
        for problem in self._problems:
            digest.update(array("q", [problem.index, *problem.tokens]).tobytes() + problem.answer.encode() + b"\0")
        return f"{self._title} on {len(self._problems):,} problems (digest {digest.hexdigest()})"

    def state_dict(self, state: PromptState) -> dict[str, Any]:
        """A state as plain values, for a checkpoint."""
        return {"of": self.description, "asked": state.asked, "learned": dict(state.learned)}

    def load_state_dict(self, saved: dict[str, Any]) -> PromptState:
        """The state that ``state_dict`` has written. Raises ConfigError for that of another task or sampler."""
        of = saved.get("of", "an earlier version of rltoolkit")
        if of != self.description:
            raise ConfigError(
                f"the checkpoint's prompts are those of {of}, this run's of {self.description}. Continue with the "
                "checkpoint's task and sampler, or begin anew in another folder"
            )
        return PromptState(asked=saved["asked"], learned=saved["learned"])

    def seed_at(self, position: int) -> int:
        """The random seed at a position: splitmix64 of (run seed, position), cut to 62 bits so that seed + g stays an int64."""
        mixed = (self._seed * 0x9E3779B97F4A7C15 + position * 0xD1B54A32D192ED03 + 0x2545F4914F6CDD1D) & (2**64 - 1)
        for multiplier, shift in ((0xBF58476D1CE4E5B9, 30), (0x94D049BB133111EB, 27)):
            mixed = ((mixed ^ (mixed >> shift)) * multiplier) & (2**64 - 1)
        return (mixed ^ (mixed >> 31)) >> 2
