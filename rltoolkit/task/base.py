"""The contract of a task: where prompts and their answers come from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

Split = Literal["train", "eval"]


class Message(NamedTuple):
    """One turn of a conversation; ``role`` is system, user or assistant."""

    role: str
    content: str


class Problem(NamedTuple):
    """One prompt with the answer that the reward function compares with.

    A model with a chat template sees the messages as turns; one without sees their contents joined.
    """

    messages: tuple[Message, ...]
    answer: str
    difficulty: str = ""
    """what the task calls it where it grades its problems, such as a number of operands; evaluations give accuracy by it"""


@dataclass(frozen=True, kw_only=True)
class EvaluationProtocol:
    """How a benchmark is evaluated unless the command line says otherwise; numbers of different protocols do not compare."""

    k: int
    """responses to each problem"""
    temperature: float
    top_p: float
    max_new_tokens: int
    max_prompt_tokens: int
    problems: int
    reward_function: str
    """the name of the verifier that its answers need"""

    def overrides(self) -> list[str]:
        """What one would write on the command line."""
        evaluation = ("k", "temperature", "top_p", "max_new_tokens", "problems")
        return [
            f"reward_function={self.reward_function}",
            f"sampling.max_prompt_tokens={self.max_prompt_tokens}",
            *(f"evaluation.{name}={getattr(self, name)}" for name in evaluation),
        ]


class Task(Protocol):
    """``task(split, seed) -> problems``: the same problems for the same seed, the two splits disjoint.

    It may have a ``protocol``, an ``EvaluationProtocol``: how it is evaluated by ``python -m rltoolkit.evaluate``.

    Raises:
        FileNotFoundError, ValueError: a missing file, a file without the named fields, an empty task; the message names
            the config key and the value.
    """

    def __call__(self, split: Split, seed: int) -> Sequence[Problem]:
        """All problems of a split: "train", or "eval" for the held-out ones."""
        ...
