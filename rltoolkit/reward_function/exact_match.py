"""Exact match: the response equals the reference, apart from spaces at the ends.

    correct = strip(response) equals strip(reference);   reward = +1 if correct else -1

Source: DAPO, arXiv:2503.14476, section 2.4, eq. 7, with equality as the verifier. Config: ``reward_function=exact_match``.
"""

from __future__ import annotations

from dataclasses import dataclass

from rltoolkit.registry import register
from rltoolkit.reward_function.base import Verdict, compare


@register("reward_function", "exact_match")
@dataclass(frozen=True, kw_only=True)
class ExactMatch:
    """Case and inner spaces matter."""

    def __call__(self, texts: list[str], answers: list[str]) -> Verdict:
        """N responses and N references -> Verdict [N]."""
        return compare(map(self.extract, texts), map(str.strip, answers))

    def extract(self, text: str) -> str:
        """The whole response, stripped."""
        return text.strip()
