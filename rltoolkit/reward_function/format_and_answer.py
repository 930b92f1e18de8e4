"""Format and answer: the rule-based reward of DeepSeek-R1-Zero, for a right answer and for the format around it.

    R = (+1 if correct else -1) + format_reward * [the response is <think>...</think><answer>...</answer>]

The answer is what the last <answer>...</answer> holds, in a response of any format. Integers are compared as integers, anything
else as text, in which any white space counts as one space. ``correct`` depends on the answer alone.

Source: DeepSeek-R1, arXiv:2501.12948 (version 1), section 2.2.2; it gives no weights. Config: ``reward_function=format_and_answer``.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from rltoolkit.component import check
from rltoolkit.registry import register
from rltoolkit.reward_function.base import Verdict, canonical_integer, compare, tagged_answer

_TAGS = ("<think>", "</think>", "<answer>", "</answer>")


@register("reward_function", "format_and_answer")
@dataclass(frozen=True, kw_only=True)
class FormatAndAnswer:
    """``correct`` never depends on the format.

    Args:
        format_reward: added where each of the four tags stands once, in order, with nothing outside them; at least 0.
    """

    format_reward: float = 1.0

    def __post_init__(self) -> None:
        check(self, "format_reward", self.format_reward >= 0, "at least 0")

    def __call__(self, texts: list[str], answers: list[str]) -> Verdict:
        """N responses and N references -> Verdict [N]."""
        accuracy = compare(map(self.extract, texts), map(_normalise, answers))
        formatted = torch.tensor([_well_formed(text.strip()) for text in texts], dtype=torch.float32)
        return accuracy._replace(reward=accuracy.reward + self.format_reward * formatted)

    def extract(self, text: str) -> str | None:
        """What the last closed <answer> holds, normalised, or None."""
        answer = tagged_answer(text)
        return None if answer is None else _normalise(answer)


def _normalise(answer: str) -> str:
    return canonical_integer(answer.strip()) or " ".join(answer.split())


def _well_formed(text: str) -> bool:
    if any(text.count(tag) != 1 for tag in _TAGS):
        return False
    think, end_think, answer, end_answer = map(text.find, _TAGS)
    between = text[end_think + len("</think>") : answer]
    return think == 0 and end_think < answer < end_answer and not between.strip() and text.endswith("</answer>")
