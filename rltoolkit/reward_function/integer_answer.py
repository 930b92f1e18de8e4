r"""Integer answer: the last ``Answer: ...`` or ``\boxed{...}`` near the end of the response, compared as an integer.

    correct = integer(response) equals integer(reference);   reward = +1 if correct else -1

Only the last ``window`` characters are read. Candidates are the rest of the line after an ``Answer:`` (any case) and the content
of a closed ``\boxed{}``. The one that begins last counts. After this normalisation it must be an integer and nothing else:

- full-width and other decimal digits, minus signs and punctuation become ASCII (superscripts do not: 10² is no integer);
- Markdown emphasis, ``$``, ``\( \)``, braces, quotes and a trailing period are taken off;
- so are a unit (``\text{...}``, degrees, percent) and everything before a last ``=`` (``m + n = 42``, but not in a list);
- thousands separators, leading zeros, a plus sign and a fraction of zeros go: ``1{,}234``, ``1 234``, ``042``, ``42.0``.

A list, a fraction, a decimal or a sentence is not an integer: wrong.

Source: DAPO, arXiv:2503.14476, section 2.4, eq. 7, and section 3.5 (answers transformed into integers).
Config: ``reward_function=integer_answer``.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from rltoolkit.component import check
from rltoolkit.registry import register
from rltoolkit.reward_function.base import Verdict, canonical_integer, compare, last_answer_line

# U+FF01-FF5E are the full-width twins of ASCII; then the minus signs and hyphens, the full stop of CJK, wide and thin spaces.
_ASCII = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)}
_ASCII |= dict.fromkeys(map(ord, "−–‐‑﹣"), ord("-")) | {ord("。"): ord(".")}
_ASCII |= dict.fromkeys(map(ord, "\u3000\u00a0\u202f\u2009"), ord(" "))

_BOX = re.compile(r"\\(?:boxed|fbox)\s*\{")
_TEXT = r"\\(?:text|mbox|mathrm|textrm|textbf|mathbf)\s*\{([^{}]*)\}"
_UNIT = re.compile(_TEXT + r"|\^\s*\{?\s*\\circ\s*\}?|°|\\?%")
_COMMA = re.compile(r"\{,\}|,\\!")
_SPACE = re.compile(r"\\[,;:! ]|~")
_DECORATION = re.compile(r"\\[()\[\]]|\\?\$|\\(?:displaystyle|left|right)\b")
_THOUSANDS = re.compile(r"[0-9]{1,3}(?:(?:,[0-9]{3})+|(?: [0-9]{3})+)")


@register("reward_function", "integer_answer")
@dataclass(frozen=True, kw_only=True)
class IntegerAnswer:
    """The verifier of the paper's main run.

    Args:
        window: characters at the end of a response that are read; at least 1.
    """

    window: int = 300

    def __post_init__(self) -> None:
        check(self, "window", self.window >= 1, "at least 1")

    def __call__(self, texts: list[str], answers: list[str]) -> Verdict:
        """N responses and N references -> Verdict [N]. A reference that is not an integer matches nothing."""
        return compare(map(self.extract, texts), (_integer(_ascii(answer)) for answer in answers))

    def extract(self, text: str) -> str | None:
        """The normalised integer (``-7``, ``0``, ``42``), or None."""
        tail = _ascii(text[-self.window :])
        _, answer = max(last_answer_line(tail), _last_box(tail))
        return _integer(answer)


def _ascii(text: str) -> str:
    return "".join(str(unicodedata.decimal(c)) if c.isdecimal() else c for c in text.translate(_ASCII))


def _last_box(text: str) -> tuple[int, str]:
    """Where the last box that is closed begins (-1: nowhere) and what it holds, braces within it included."""
    boxes = {match.end(): match.start() for match in _BOX.finditer(text)}
    found, opened = (-1, ""), []
    for position, character in enumerate(text):
        if character == "{":
            opened.append(position + 1)
        elif character == "}" and opened and (inside := opened.pop()) in boxes:
            found = max(found, (boxes[inside], text[inside:position]))
    return found


def _integer(text: str) -> str | None:
    text = _SPACE.sub(" ", _COMMA.sub(",", _DECORATION.sub("", text))).strip()
    whole = re.fullmatch(_TEXT, text)  # \text{42} holds the answer itself, 42 \text{cm} a unit
    text = whole[1] if whole else _UNIT.sub("", text)
    text = re.sub(r"^[^<>!,;]*=", "", text)
    text = text.lstrip(" \t*_`'\"{").rstrip(" \t\r*_`'\"}.")
    sign, digits = re.fullmatch(r"([+-]?)\s*(.*)", text, re.DOTALL).groups()  # type: ignore[union-attr]  # matches any text
    digits = re.sub(r"\.0*$", "", digits)
    if _THOUSANDS.fullmatch(digits):
        digits = re.sub("[, ]", "", digits)
    return canonical_integer(sign + digits)
