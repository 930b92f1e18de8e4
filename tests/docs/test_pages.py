"""The pages of the docs site that are written by hand say nothing that is not so: names, keys, files and commands exist."""

import csv
import re
import shlex
import sys
from pathlib import Path

import pytest

import rltoolkit
from rltoolkit import columns, registry
from rltoolkit.run.compose import all_keys

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
sys.path.append(str(DOCS / "_ext"))
PAGES = [page for page in sorted(DOCS.rglob("*.md")) if not {"_build", "generated"} & set(page.parts)]
TEXT = {str(page.relative_to(DOCS)): page.read_text() for page in PAGES}
COMMANDS = sorted(
    {
        line.partition("  #")[0].strip()
        for text in TEXT.values()
        for line in re.sub(r" \\\n\s+", " ", text).splitlines()
        if "--plugin" not in line and re.match(r"    (torchrun .* -m rltoolkit |python -m rltoolkit )", line)
    }
)
KEYS, METRICS = set(all_keys()), {**columns.METRICS, **columns.EVALUATIONS}
with (DOCS / "how_to" / "migrate_options.csv").open(newline="") as file:
    OPTIONS = [row["ours"] for row in csv.DictReader(file)]


def exists(name: str) -> bool:
    """Whether ``key``, ``key=value``, ``kind=[component]`` or a column is one of ours."""
    key, _, value = name.partition("=")
    if key in registry.kinds():
        return not value or set(value.strip("[]").split(",")) <= set(registry.names(key))
    return key in KEYS or (not value and key in METRICS)


@pytest.mark.parametrize("option", OPTIONS)
def test_what_others_call_otherwise_exists_here(option):
    assert exists(option)


def test_what_a_collapse_is_read_from_exists():
    # the cells "look at" and "try"; in backticks, a component alone in brackets belongs to the kind before it
    rows = [line.split("|") for line in TEXT["how_to/debug_a_collapse.md"].splitlines() if line.startswith("|")][2:]
    names = [name for row in rows for cell in (row[2], row[4]) for name in re.findall(r"`([^`\[]+(?:\[\w+\])?)`", cell)]
    names = [name for name in names if not name.startswith("python ")]
    assert len(names) > 20
    assert [name for name in names if not exists(name)] == []


@pytest.mark.parametrize("page", TEXT)
def test_files_that_a_page_names_are_there(page):
    named = re.findall(r"`((?:rltoolkit|tests|experiments|examples|benchmarks|conf)/[\w./]+)`", TEXT[page])
    assert [name for name in named if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_compose(command):
    words = shlex.split(command.partition("-m rltoolkit ")[2])
    overrides = [word for word in words if word != "-m" and not word.startswith(("seed=", "hydra"))]
    rltoolkit.load(*overrides)


def test_the_front_page_says_what_the_table_says():
    table = (ROOT / "experiments" / "dapo_ablation" / "table.md").read_text()
    row = next(line for line in table.splitlines() if line.startswith("| + Dynamic sampling (DAPO)"))
    difference, p = (cell.strip() for cell in row.split("|")[6:8])
    assert f"{difference.split()[0].removeprefix('+')} points above naive GRPO (p = {p})" in " ".join(TEXT["index.md"].split())


def test_every_key_is_explained():
    from explained import keys_of_configuration

    assert [key.name for keys in keys_of_configuration().values() for key in keys if not key.meaning] == []


def test_every_hyperparameter_is_explained():
    import dataclasses

    from explained import meanings_of_fields

    unexplained = [
        f"{registry.choice(kind, name)} {field.name}"
        for kind in registry.kinds()
        for name in registry.names(kind)
        for field in dataclasses.fields(registry.get(kind, name))
        if not meanings_of_fields(registry.get(kind, name)).get(field.name)
    ]
    assert unexplained == []
