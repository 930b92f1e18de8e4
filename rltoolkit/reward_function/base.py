"""The contract of a reward function: from what the model wrote to a verdict and a reward."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, NamedTuple, Protocol

import torch

if TYPE_CHECKING:
    from torch import Tensor

_ANSWER = re.compile(r"answer[\s*_]*:", re.IGNORECASE)


class Verdict(NamedTuple):
    """Both [N], one for each response."""

    correct: Tensor
    """bool: what the verifier says; nothing rewrites it later"""
    reward: Tensor
    """float32: what is optimised, before shaping"""


class RewardFunction(Protocol):
    """``function(texts, answers) -> Verdict``: N responses and the N reference answers.

    Texts are untrusted: whatever a model writes is at worst a wrong answer; it never raises an exception and is never run as code.
    A run waits for the verdict. A function that may hang, on a server or in a library, belongs in ``TimeLimited`` (config key
    ``verifier_timeout``).

    It may have ``extract(text) -> str | None``: the final answer found in a response, normalised so that equal answers are equal
    strings. Majority votes (cons@k) need it and nothing else does.
    """

    def __call__(self, texts: list[str], answers: list[str]) -> Verdict:
        """Judge N responses against their N reference answers."""
        ...


def extractor_of(function: RewardFunction) -> Callable[[str], str | None] | None:
    """A reward function's ``extract``; None where it, or the one that it wraps, has none."""
    wrapped = getattr(function, "function", function)
    return getattr(function, "extract", None) if hasattr(wrapped, "extract") else None


def verdict(correct: Iterable[bool]) -> Verdict:
    """Reward +1 where the verifier says correct, else -1 (DAPO, arXiv:2503.14476, eq. 7)."""
    verdicts = torch.tensor(list(correct), dtype=torch.bool)
    return Verdict(correct=verdicts, reward=verdicts.float() * 2 - 1)


def compare(found: Iterable[str | None], expected: Iterable[str | None]) -> Verdict:
    """``verdict`` where normalised answers are equal strings; None is not equal to anything. Raises ValueError if N differs."""
    return verdict(one is not None and one == other for one, other in zip(found, expected, strict=True))


def canonical_integer(text: str) -> str | None:
    """ASCII digits with an optional sign, less leading zeros and plus (``-007`` is ``-7``); None for any other text.

    Integers stay strings: Python refuses to convert one of more than 4,300 digits.
    """
    if not re.fullmatch(r"[+-]?[0-9]+", text):
        return None
    digits = text.lstrip("+-").lstrip("0") or "0"
    return "-" + digits if text[0] == "-" and digits != "0" else digits


def last_answer_line(text: str) -> tuple[int, str]:
    """Where the last ``Answer:`` (any case) begins, and the first line after it that holds something; (-1, "") without one."""
    start, after = -1, 0
    for match in _ANSWER.finditer(text):
        start, after = match.span()
    return (start, text[after:].lstrip(" \t\r\n*_").partition("\n")[0]) if start >= 0 else (-1, "")


def tagged_answer(text: str) -> str | None:
    """What the last closed <answer>...</answer> holds, or None."""
    before, closing, _ = text.rpartition("</answer>")
    _, opening, answer = before.rpartition("<answer>")
    return answer if opening and closing else None
