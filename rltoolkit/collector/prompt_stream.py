"""The stream of prompts: pass after pass over a task's problems, without end; each position has a problem and a random seed.

Both are pure functions of the position and the run's seed, so ranks that share the stream need not talk about it, and a run that
continues needs the position and nothing else.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rltoolkit.policy.loading import encode
from rltoolkit.prompt_sampler.base import PromptSampler
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


class PromptStream:
    """What stands at each position.

    Args:
        problems: the encoded training problems, at least one.
        prompt_sampler: the order of each pass over them; see ``PromptSampler``.
        seed: the run's.
    """

    def __init__(self, problems: Sequence[EncodedProblem], prompt_sampler: PromptSampler, seed: int) -> None:
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
