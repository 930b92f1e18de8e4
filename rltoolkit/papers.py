"""The paper index: which components and experiments come from which paper, ``python -m rltoolkit.components --papers``.

Each component's docstring, and the comment at the head of each experiment, has one paragraph that says where it comes from:

    Source: DAPO, arXiv:2503.14476, section 3.1, eq. 10; PPO, arXiv:1707.06347, section 3.

That is a list of citations with semicolons between them. A citation is a name, then ``arXiv:`` and the number or else the year, then
the place; parts of the list that are none of that are remarks. What comes from no paper says so: ``Source: none``. Nothing else in
the toolkit knows which paper a thing comes from.
"""

from __future__ import annotations

import inspect
import re
import textwrap
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

from rltoolkit import registry

EXPERIMENTS = Path(__file__).parent / "conf" / "experiment"

_SOURCE = re.compile(r"\bSource: (.*?)(?=\s+Config: |\n\s*\n|\Z)", re.DOTALL)
_CITATION = re.compile(r"(?P<name>.+?), (?P<number>arXiv:\d{4}\.\d{4,5}|(?:19|20)\d\d\b),?\s*(?P<place>.*)")


class Paper(NamedTuple):
    """What is cited."""

    name: str
    number: str
    """``arXiv:2503.14476``, or the year of what is not on arXiv"""

    @property
    def date(self) -> str:
        """Year and month as far as known, ``202503``: sorts from old to new."""
        return f"20{self.number[6:10]}" if self.number.startswith("arXiv:") else self.number

    def __str__(self) -> str:
        return ", ".join(self)


class Use(NamedTuple):
    """What comes from a paper."""

    choice: str
    """what one adds to ``python -m rltoolkit``"""
    place: str
    """section and equation, where the source names them"""


def source(text: str) -> str | None:
    """The Source paragraph of a docstring in one line, without the final period; None where there is none."""
    found = _SOURCE.search(text)
    return " ".join(found[1].split()).removesuffix(".") if found else None


def citations(source: str) -> list[tuple[Paper, str]]:
    """Each paper that a source names, with the place in it."""
    found = [_CITATION.fullmatch(part.strip()) for part in source.split(";")]
    return [(Paper(each["name"], each["number"]), each["place"]) for each in found if each]


def sources() -> dict[str, str | None]:
    """The source of every component and experiment, under what one adds to ``python -m rltoolkit`` to choose it."""
    components = {
        registry.choice(kind, name): inspect.getdoc(inspect.getmodule(registry.get(kind, name))) or ""
        for kind in registry.kinds()
        for name in registry.names(kind)
    }
    experiments = {f"+experiment={file.stem}": _head_comment(file) for file in sorted(EXPERIMENTS.glob("*.yaml"))}
    return {choice: source(text) for choice, text in (components | experiments).items()}


def index() -> dict[Paper, list[Use]]:
    """What comes from each paper, the oldest paper first."""
    uses: dict[Paper, list[Use]] = defaultdict(list)
    for choice, text in sources().items():
        for paper, place in citations(text or ""):
            uses[paper].append(Use(choice, place))
    return dict(sorted(uses.items(), key=lambda item: (item[0].date, item[0])))


def table(width: int = 80) -> str:
    """The index as text: a heading for each paper, below it a line for each component and experiment.

    Long places are cut: in full they are in the component's docstring.
    """
    lines = ["Add what stands on the left to: python -m rltoolkit", ""]
    for paper, uses in index().items():
        lines += textwrap.wrap(str(paper), width)
        for choice, place in uses:
            left = f"  {choice:46}  "
            lines.append((left + textwrap.shorten(place, width - len(left), placeholder=" \u2026")).rstrip())
        lines.append("")
    without = [choice for choice, text in sources().items() if not citations(text or "")]
    lines += ["From no paper", *textwrap.wrap(", ".join(without), width, initial_indent="  ", subsequent_indent="  ")]
    return "\n".join(lines)


def _head_comment(file: Path) -> str:
    lines = file.read_text(encoding="utf-8").splitlines()
    return "\n".join(line.removeprefix("# ") for line in lines if line.startswith("#"))
