"""One function for each shape of an answer: the form's LaTeX with letters, or None for an answer of another shape.

A reader may raise whatever the LaTeX parser raises: then the answer is not of its shape either.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import replace
from math import gcd

from rltoolkit.transform import _expression
from rltoolkit.transform._expression import Constant, Polynomial
from rltoolkit.transform._letters import Letters, render_constant, render_polynomial

INTEGER = re.compile(r"[+-]? ?(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]{1,400})(?:\.0*)?")
_INFINITY = re.compile(r"[+-]?\\infty")
WORD = r"\\(?:text|mbox|mathrm|textbf|mathbf)\s*\{([^{}]*)\}"
_DEGREES = r"\^\s*\{?\s*\\circ\s*\}?|°"
_SHORT = "mm|cm|km|kg|mg|ml|ft|lb|oz|mph"
_UNIT = re.compile(
    rf"(.+?)\s*((?:{WORD}|{_DEGREES}|(?<= )[a-zA-Z]{{3,}}|(?<=[\d}} ])(?:{_SHORT}))(?:\s*\^\s*\{{?\d\}}?)?)", re.DOTALL
)


def _base(text: str, letters: Letters) -> str | None:
    found = re.fullmatch(r"([0-9]{1,18})_(?:\{([0-9]{1,2})\}|([0-9]))", text)
    return f"{letters.positive(int(found[1]), 'n')}_{{{found[2] or found[3]}}}" if found else None


def _ratio(text: str, letters: Letters) -> str | None:
    found = re.fullmatch(r"([1-9][0-9]{0,17}) ?(?::|\\colon) ?([1-9][0-9]{0,17})", text)
    if not found or gcd(int(found[1]), int(found[2])) != 1:
        return None
    pair = letters.positive(int(found[1]), "m"), letters.positive(int(found[2]), "n")
    letters.coprime(pair)
    return ":".join(pair)


def _power(text: str, letters: Letters) -> str | None:
    """2^{100}: the base stays, the exponent is asked for."""
    found = re.fullmatch(r"([0-9]{1,4})\^(?:\{([1-9][0-9]{0,5})\}|([1-9]))", text)
    return f"{found[1]}^{{{letters.positive(int(found[2] or found[3]), 'n')}}}" if found else None


def _percentage(text: str, letters: Letters) -> str | None:
    found = re.fullmatch(r"(.+?) ?\\?%", text)
    return f"{_lone(found[1], letters)}\\%" if found else None


def _unit(text: str, letters: Letters) -> str | None:
    money = re.fullmatch(r"\\\$ ?(.+)", text)
    if money:
        return f"\\${_lone(money[1], letters)}"
    found = _UNIT.fullmatch(text)
    return f"{_lone(found[1], letters)} {found[2]}" if found else None


def _union(text: str, letters: Letters) -> str | None:
    parts = re.split(r"\\cup(?![a-zA-Z])", _after_membership(text))
    if len(parts) < 2:
        return None
    return r" \cup ".join(_braces(part, letters) or _ends(part, letters) or _fail(part) for part in map(str.strip, parts))


def _interval(text: str, letters: Letters) -> str | None:
    """(1, 2) alone is read as a pair: it has the same letters and the same sum."""
    text = _after_membership(text)
    is_open = text[:1] + text[-1:] == "()" and "\\infty" not in text
    return None if is_open else _ends(text, letters)


def _ends(text: str, letters: Letters) -> str | None:
    ends = _split(text[1:-1], ",")
    if text[:1] not in ("(", "[") or text[-1:] not in (")", "]") or len(ends) != 2:
        return None
    return f"{text[0]}{', '.join(_entry(end, letters) for end in ends)}{text[-1]}"


def _tuple(text: str, letters: Letters) -> str | None:
    ends = _split(text[1:-1], ",")
    inside = text[:1] + text[-1:] == "()" and len(ends) > 1
    return f"({', '.join(_entry(end, letters) for end in ends)})" if inside else None


def _braces(text: str, letters: Letters) -> str | None:
    found = re.fullmatch(r"\\\{(.*)\\\}", _after_membership(text), re.DOTALL)
    return f"\\{{{', '.join(_entry(part, letters) for part in _split(found[1], ','))}\\}}" if found else None


def _list(text: str, letters: Letters) -> str | None:
    parts = _split(re.sub(r"\\(?:text|mbox)\{\s*(?:and|or)\s*\}|(?<=[\d ])(?:and|or)(?=[ \d])", ",", text), ",")
    if len(parts) < 2:
        return None
    return ", ".join(_tuple(part.strip(), letters) or _entry(part, letters) for part in parts)


def _matrix(text: str, letters: Letters) -> str | None:
    found = re.fullmatch(r"(\\begin\{([pbv]?matrix)\})(.*)(\\end\{\2\})", text, re.DOTALL)
    if not found:
        return None
    rows = re.split(r"\\\\", found[3].strip().removesuffix("\\\\"))
    cells = [" & ".join(_entry(cell, letters) for cell in row.split("&")) for row in rows]
    return f"{found[1]} " + " \\\\ ".join(cells) + f" {found[4]}"


def _equation(text: str, letters: Letters) -> str | None:
    """y = 2x + 3. Both sides of any other equation may be multiplied, so its integers are not unique."""
    found = re.fullmatch(r"([a-zA-Z](?:\([a-zA-Z]\))?) ?= ?([^=]+)", text)
    return f"{found[1]} = {_entry(found[2], letters)}" if found else None


def _inequality(text: str, letters: Letters) -> str | None:
    found = re.fullmatch(r"([a-zA-Z]) ?(<|>|\\(?:leq?|geq?|leqslant|geqslant)(?![a-zA-Z])) ?(.+)", text)
    return f"{found[1]} {found[2]} {_entry(found[3], letters)}" if found else None


def _plus_minus(text: str, letters: Letters) -> str | None:
    """The terms in which the two readings differ are those with \\pm."""
    if text.count("\\pm") != 1:
        return None
    plus, minus = (_expression.constant(_expression.parse(text.replace("\\pm", sign))) for sign in "+-")
    if plus is None or minus is None or len(plus.terms) != len(minus.terms):
        return None
    pairs = list(zip(plus.terms, minus.terms, strict=True))
    if plus.denominator != minus.denominator or any(
        replace(a, coefficient=abs(a.coefficient)) != replace(b, coefficient=abs(b.coefficient)) for a, b in pairs
    ):
        return None
    return render_constant(plus, letters, ["-" if a.coefficient < 0 and a == b else "+" if a == b else "\\pm" for a, b in pairs])


def _single(text: str, letters: Letters) -> str | None:
    normal = _normal_form(text) if ":" not in text else None  # 4:6 is a ratio that is not in lowest terms
    if isinstance(normal, Polynomial):
        return render_polynomial(normal, letters)
    return render_constant(normal, letters) if normal is not None else None


def _entry(text: str, letters: Letters) -> str:
    """One part of a compound answer: infinity, an integer with its sign, or an expression. Raises ValueError for anything else."""
    text = text.strip()
    if _INFINITY.fullmatch(text):
        return text
    if INTEGER.fullmatch(text):
        return letters.signed(int(plain(text)))
    return _plus_minus(text, letters) or _single(text, letters) or _fail(text)


def _lone(text: str, letters: Letters) -> str:
    """What stands before a unit."""
    if INTEGER.fullmatch(text):
        number = int(plain(text))
        return letters.positive(number, "n") if number > 0 else f"-{letters.positive(-number, 'n')}" if number else _fail(text)
    return _single(text, letters) or _fail(text)


def _fail(text: str) -> str:
    raise ValueError(f"no known form: {text}")


def plain(integer: str) -> str:
    """The digits, and a minus sign where there is one."""
    return str(int(re.sub(r"\.0*$|[, ]", "", integer)))


def _after_membership(text: str) -> str:
    return re.sub(r"^[a-zA-Z] ?\\in(?![a-zA-Z]) ?", "", text)


def _split(text: str, separator: str) -> list[str]:
    """At separators that are in no bracket."""
    parts, depth = [""], 0
    for character in text:
        depth += (character in "([{") - (character in ")]}")
        if character == separator and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return parts


@functools.lru_cache(maxsize=8)  # an expression is rendered, then named
def _normal_form(text: str) -> Constant | Polynomial | None:
    value = _expression.parse(text)
    return _expression.constant(value) or _expression.polynomial(value)


def expression_kind(text: str) -> str:
    """What a single expression is counted as."""
    normal = _normal_form(text)
    if not isinstance(normal, Constant):
        return "polynomial"
    if any(term.imaginary for term in normal.terms):
        return "complex"
    if normal.pi or any(term.pi for term in normal.terms):
        return "pi"
    if any(term.radicand > 1 for term in normal.terms):
        return "root"
    if normal.denominator == 1:
        return "integer"
    return "decimal" if "." in text else "fraction"


READERS: tuple[tuple[str, Callable[[str, Letters], str | None]], ...] = (
    ("base", _base),
    ("ratio", _ratio),
    ("power", _power),
    ("percentage", _percentage),
    ("unit", _unit),
    ("matrix", _matrix),
    ("union", _union),
    ("interval", _interval),
    ("tuple", _tuple),
    ("set", _braces),
    ("list", _list),
    ("equation", _equation),
    ("inequality", _inequality),
    ("plus-minus", _plus_minus),
    ("expression", _single),
)
"""The first that knows an answer wins."""
