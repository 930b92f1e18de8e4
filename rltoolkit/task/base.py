"""The contract of a task: where prompts and their answers come from."""

from __future__ import annotations

from collections.abc import Sequence
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


class Task(Protocol):
    """``task(split, seed) -> problems``: the same problems for the same seed, the two splits disjoint.

    Raises:
        FileNotFoundError, ValueError: a missing file, a file without the named fields, an empty task; the message names
            the config key and the value.
    """

    def __call__(self, split: Split, seed: int) -> Sequence[Problem]: ...
