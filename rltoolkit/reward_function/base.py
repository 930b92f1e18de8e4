"""The contract of a reward function: from what the model wrote to a verdict and a reward."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from torch import Tensor


class Verdict(NamedTuple):
    """Both [N], one for each response."""

    correct: Tensor
    """bool: what the verifier says; nothing rewrites it later"""
    reward: Tensor
    """float32: what is optimised, before shaping"""


class RewardFunction(Protocol):
    """``function(texts, answers) -> Verdict``: N responses and the N reference answers.

    Texts are untrusted: whatever a model writes is a wrong answer at worst, never an exception and never evaluated.
    """

    def __call__(self, texts: list[str], answers: list[str]) -> Verdict: ...

    def extract(self, text: str) -> str | None:
        """The final answer found in a response, normalised so that equal answers are equal strings (for cons@k)."""
        ...
