"""Prompt templates: the words around a problem; a prompt that already has them does not get them twice.

The paper's template asks for the last line ``Answer: ...`` that the verifier looks for.

Source: DAPO, arXiv:2503.14476: the prompts of its released evaluation file (BytedTsinghua-SIA/AIME-2024).
"""

from __future__ import annotations

import re

PAPER_TEMPLATE = (
    "Solve the following math problem step by step. The last line of your response should be of the form "
    "Answer: $Answer (without quotes) where $Answer is the answer to the problem.\n\n"
    "{problem}\n\n"
    'Remember to put your answer on its own line after "Answer:".'
)


def fill(template: str, **slots: str) -> str:
    """Put each slot's text in place of ``{slot}``, in one pass: braces inside a problem are left as they are."""
    return re.sub(r"\{(" + "|".join(slots) + r")\}", lambda slot: slots[slot[1]], template)


def bare(prompt: str) -> str:
    """The problem inside a prompt that already carries the paper's template; any other prompt as it is.

    Only the whole template counts: a problem may well say "Answer:" of itself.
    """
    before, after = PAPER_TEMPLATE.split("{problem}")
    if prompt.startswith(before) and prompt.endswith(after):
        return prompt[len(before) : -len(after)]
    return prompt
