"""The catalogue of components, one in full, or the papers that they come from.

    python -m rltoolkit.components                   # every component, by kind
    python -m rltoolkit.components clip_higher       # one in full: formula, source, hyperparameters, file
    python -m rltoolkit.components kl_penalty=none   # of this kind, where several have one of that name
    python -m rltoolkit.components --papers

Components of plug-ins are among them; ``--plugin FILE`` names one.
"""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Column, Table

from rltoolkit import papers, registry
from rltoolkit.command_line import prepare
from rltoolkit.component import followed_key


def main(arguments: list[str] | None = None) -> int:
    """Print the catalogue, the paper index, or the components called NAME (or ``kind=NAME``). Returns 2 for an unknown name."""
    parser = argparse.ArgumentParser(
        prog="python -m rltoolkit.components", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", nargs="?", help="a component, shown in full")
    parser.add_argument("--papers", action="store_true", help="each paper, and what comes from it")
    asked = parser.parse_args(prepare(sys.argv[1:] if arguments is None else arguments))
    console = Console()
    if asked.papers:
        console.print(papers.table(min(console.width, 100)), markup=False, highlight=False, soft_wrap=True)
        return 0
    if asked.name is None:
        for kind in registry.kinds():
            console.print(catalogue(kind))
        console.print("One in full: python -m rltoolkit.components NAME. By paper: python -m rltoolkit.components --papers")
        return 0
    found = matches(asked.name)
    if not found:
        known = tuple(sorted({name for kind in registry.kinds() for name in registry.names(kind)}))
        console.print(f"error: {registry.UnknownName('component', asked.name, known)}", markup=False, highlight=False)
        return 2
    for kind, name in found:
        console.print(describe(kind, name), markup=False, highlight=False, soft_wrap=True)
    return 0


def matches(query: str) -> list[tuple[str, str]]:
    """(kind, name) of the components that ``NAME`` or ``kind=NAME`` asks for; ``none`` exists in several kinds."""
    kind_asked, _, name_asked = query.rpartition("=")
    return [
        (kind, name)
        for kind in registry.kinds()
        for name in registry.names(kind)
        if name == name_asked and kind_asked in ("", kind)
    ]


def catalogue(kind: str) -> Table:
    """One table for a kind: name, hyperparameters with defaults, what it is, file."""
    # Names and files stay whole in a narrow terminal: they are what one looks up.
    name_column, file_column = Column("name", no_wrap=True), Column("file", overflow="fold")
    table = Table(name_column, "hyperparameters", "what it is", file_column, title=kind, title_justify="left", expand=True)
    for name in registry.names(kind):
        where = registry.find(kind, name)
        parameters = ", ".join(f"{field}={shorten(default, 24)}" for field, _, default in hyperparameters(kind, name))
        table.add_row(name, parameters, where.summary.partition(": ")[2] or where.summary, relative(where.file))
    return table


def describe(kind: str, name: str) -> str:
    """Everything about one component: formula and source (its module's docstring), hyperparameters, file, config line."""
    where, cls = registry.find(kind, name), registry.get(kind, name)
    lines = [f"{kind}={name}", "", inspect.getdoc(inspect.getmodule(cls)) or "", "", documented(cls), ""]
    lines += ["Hyperparameters:"]
    prefix = f"{kind}.{name}" if kind in registry.SEVERAL else kind
    for field, hint, default in hyperparameters(kind, name):
        lines.append(f"    {prefix}.{field}: {hint} = {default}")
    if not hyperparameters(kind, name):
        lines.append("    none")
    lines += ["", f"File:   {relative(where.file)}:{where.line}", f"Config: python -m rltoolkit {registry.choice(kind, name)}"]
    lines += [f"Python: from {where.module} import {cls.__name__}", ""]
    return "\n".join(lines)


def documented(cls: type) -> str:
    """What a component's class says of itself and its hyperparameters, and what the dataclasses say that it takes some of them from."""
    own = (each for each in cls.__mro__ if dataclasses.is_dataclass(each))
    return "\n\n".join(inspect.cleandoc(each.__doc__ or "") for each in own)


def hyperparameters(kind: str, name: str) -> list[tuple[str, str, str]]:
    """(field, type, default) of each hyperparameter; a default that follows another config key names it."""
    rows = []
    for field in dataclasses.fields(registry.get(kind, name)):
        default = "required" if field.default is dataclasses.MISSING else repr(field.default)
        default = followed_key(field) or default
        kind_of_value = field.type if isinstance(field.type, str) else inspect.formatannotation(field.type)
        rows.append((field.name, kind_of_value, default))
    return rows


def shorten(text: str, width: int) -> str:
    """The beginning of a long text."""
    return text if len(text) <= width else text[: width - 1] + "\u2026"


def relative(file: str) -> str:
    """A component's file, from the package down for our own, and from the working directory for one below it."""
    package, here, path = Path(__file__).parent, Path.cwd(), Path(file)
    if path.is_relative_to(package):
        return str(path.relative_to(package.parent))
    return str(path.relative_to(here)) if path.is_relative_to(here) else file


if __name__ == "__main__":
    sys.exit(main())
