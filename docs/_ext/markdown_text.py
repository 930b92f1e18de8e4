"""From docstrings to Markdown: ``code`` becomes `code`, indented blocks become formulas in a fixed font, arXiv numbers become links."""

import inspect
import re
from collections.abc import Sequence


def markdown(docstring: str) -> str:
    """A docstring's text; every block that is indented further than its paragraph stays as it is typed."""
    blocks = inspect.cleandoc(docstring).split("\n\n")
    return "\n\n".join(_block(block) for block in blocks if block.strip())


def _block(block: str) -> str:
    lines = block.splitlines()
    if lines and all(line.startswith("    ") or not line for line in lines):
        return fenced(inspect.cleandoc(block), "text")
    head = next((number for number, line in enumerate(lines) if line.startswith("    ")), None)
    if head and lines[head - 1].endswith(":"):  # a list of terms
        return _inline("\n".join(lines[:head])) + "\n\n" + fenced(inspect.cleandoc("\n".join(lines[head:])), "text")
    return _inline(block)


def _inline(text: str) -> str:
    parts = re.split(r"(``.+?``)", text, flags=re.DOTALL)
    return "".join(part[1:-1] if part.startswith("``") else _escaped(part) for part in parts)


def _escaped(text: str) -> str:
    """What Markdown would take for its own."""
    return re.sub(r"([*_<\[\]$|])", r"\\\1", text)


def fenced(text: str, language: str) -> str:
    """A block in a fixed font."""
    return f"```{language}\n{text}\n```\n"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; cells are one line each."""
    lines = [head, ["---"] * len(head), *rows]
    cells = [[" ".join(cell.split()) for cell in line] for line in lines]
    return "\n".join("| " + " | ".join(re.sub(r"(?<!\\)\|", r"\\|", cell) for cell in line) + " |" for line in cells) + "\n"


def link_papers(text: str) -> str:
    """arXiv numbers as links."""
    return re.sub(r"arXiv:(\d{4}\.\d{4,5})(v\d)?", r"[arXiv:\1\2](https://arxiv.org/abs/\1\2)", text)
