r"""The form of an answer, and the integer that can be asked for instead.

``read_form(r"11 - 2\sqrt{6}")`` is the form k - m\sqrt{n} with k = 11, m = 2, n = 6; the sum k + m + n = 19 is an integer that only
the right answer leads to. Every integer of the answer's normal form becomes a letter:

- inside a constant letters are positive and signs stay in the form: -7/3 is -p/q, and p + q = 10;
- an integer that stands alone (an entry of a tuple, a bound, a coefficient of a polynomial) is a letter with its sign;
- the conditions that make the letters unique are part of the form: lowest terms, no square under a root.

Source: DAPO, arXiv:2503.14476, section 3.5 ((a + sqrt b) / c -> a + b + c) and the appendix's example (k - m sqrt n -> k + m + n).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from rltoolkit.transform._expression import LONGEST
from rltoolkit.transform._letters import Letters
from rltoolkit.transform._readers import INTEGER, READERS, WORD, expression_kind, plain

LARGEST_SUM = 2**63 - 1  # what a data set's int64 column holds


@dataclass(frozen=True)
class Form:
    """What an answer looks like once each of its integers is a letter.

    Args:
        kind: what it is counted as: ``fraction``, ``root``, ``tuple`` ...
        template: LaTeX with letters.
        values: what each letter stands for.
        conditions: clauses that make the letters unique.
    """

    kind: str
    template: str
    values: dict[str, int]
    conditions: tuple[str, ...] = ()

    @property
    def integer(self) -> int:
        """The sum of the values."""
        return sum(self.values.values())

    @property
    def combination(self) -> str:
        """The sum of the letters, ``k + m + n``."""
        return " + ".join(self.values)

    @property
    def sentence(self) -> str:
        """The form in words, for a question."""
        *first, last = self.conditions or ("",)
        where = f"{', '.join(first)}, and {last}" if first else last
        return f"${self.template}$, where {where}" if where else f"${self.template}$"


def read_form(answer: str) -> Form | None:
    """The form of an answer, or None where it has none that is known; never an exception.

    Answers that you have not seen belong in ``Algebra``, where time and memory are limited.
    """
    text = clean(answer)
    symbols = set(re.findall(r"[a-zA-Z]", re.sub(rf"{WORD}|\\(?:begin|end)\{{\w+\}}|\\[a-zA-Z]+", " ", text)))
    for kind, read in READERS:
        letters = Letters(symbols | set("eio"))
        try:
            found = read(text, letters)
        except Exception:  # the LaTeX parser raises whatever it likes
            continue
        if found is not None:
            exact_kind = expression_kind(text) if kind == "expression" else kind
            form = Form(exact_kind, found, letters.values, letters.conditions)
            return form if form.values and abs(form.integer) <= LARGEST_SUM else None
    return None


def read_integer(answer: str) -> str | None:
    """The integer that an answer is already, ``-1080`` for ``x = -1,\\!080``; None for any other, one with a unit included."""
    text = re.sub(r"^[a-zA-Z]\s*=\s*", "", clean(answer))
    return plain(text) if INTEGER.fullmatch(text) else None


def is_text(answer: str) -> bool:
    """Whether an answer is words or the letter of a choice: it holds no integer to ask for."""
    text = clean(answer)
    whole = re.fullmatch(WORD, text)
    words = (whole[1] if whole else text).strip()
    return (
        len(words) <= LONGEST
        and re.fullmatch(r"\(?[A-Z]\)?|[^\d\\=+*/^_|<>{}\[\]]*[^\W\d_]{2,}[^\d\\=+*/^_|<>{}\[\]]*", words) is not None
    )


def clean(answer: str) -> str:
    """LaTeX without what changes only its looks."""
    text = re.sub(r"\\[,!;:]\s*(?=\d{3}(?!\d))", "", answer)  # 10,\!080
    text = re.sub(r"(?<!\\)(?:\$|\\[()\[\]])|\\(?:displaystyle|left|right|limits)(?![a-zA-Z])", "", text)
    text = re.sub(r"\\[dt]frac(?![a-zA-Z])", r"\\frac", text.replace("{,}", ",").replace("−", "-"))
    text = re.sub(r"(?<!\\)\\[,!;: ]|~|\s+", " ", text).strip().rstrip(".").strip()
    boxed = re.fullmatch(r"\\boxed\s*\{(.*)\}", text, re.DOTALL)
    return boxed[1].strip() if boxed else text
