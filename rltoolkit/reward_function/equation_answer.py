"""Equation answer: the integer after the last ``=``.

    correct = (what follows the last "=", as an integer) equals the reference;   reward = +1 if correct else -1

A response without ``=`` is read whole. Apart from spaces around it, the text must be one integer with an optional sign:
``37+48=85;85-9=76`` answers 76, ``85-9=76.`` answers nothing.

Source: DAPO, arXiv:2503.14476, section 2.4, eq. 7, for generated arithmetic.
Config: ``reward_function=equation_answer``.
"""

from __future__ import annotations

from dataclasses import dataclass

from rltoolkit.registry import register
from rltoolkit.reward_function.base import Verdict, canonical_integer, compare


@register("reward_function", "equation_answer")
@dataclass(frozen=True, kw_only=True)
class EquationAnswer:
    """Integers are compared as normalised strings, so their size does not matter."""

    def __call__(self, texts: list[str], answers: list[str]) -> Verdict:
        """N responses and N references -> Verdict [N]. A reference that is not an integer matches nothing."""
        return compare(map(self.extract, texts), (canonical_integer(answer.strip()) for answer in answers))

    def extract(self, text: str) -> str | None:
        """The normalised integer (``-7``, ``0``, ``42``), or None."""
        return canonical_integer(text.rpartition("=")[2].strip())
