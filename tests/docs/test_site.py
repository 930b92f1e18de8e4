"""The built site, checked by ``make docs``: links lead somewhere, pictures have a text, the search finds, nothing public is left out.

Nothing here asks the network.
"""

import importlib
import importlib.util
import inspect
import json
import os
import pkgutil
import re
from collections.abc import Iterator
from functools import cached_property
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from types import FunctionType, ModuleType
from urllib.parse import unquote, urlsplit

import pytest

import rltoolkit
from rltoolkit import columns, registry

pytestmark = pytest.mark.skipif("RLTOOLKIT_SITE" not in os.environ, reason="RLTOOLKIT_SITE: the folder of the built site")
SITE = Path(os.environ.get("RLTOOLKIT_SITE", "."))
DOCS = Path(__file__).parents[2] / "docs"
METHODS = (FunctionType, classmethod, staticmethod, property, cached_property)


class Page(HTMLParser):
    """What the checks read of a page."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.pictures: dict[str, str] = {}  # address -> text
        self.code: set[str] = set()
        self.feed(file.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.last = given = {name: value or "" for name, value in attributes}
        self.links += [given[name] for name in ("href", "src") if name in given]
        self.anchors |= {given["id"]} if "id" in given else set()
        if tag == "img":
            self.pictures[given["src"]] = given.get("alt", "")

    def handle_data(self, text: str) -> None:
        if self.lasttag == "span" and self.last.get("class") == "pre":
            self.code.add(text)


@pytest.fixture(scope="module")
def pages() -> dict[str, Page]:
    """The pages by their path in the site."""
    files = [file for file in sorted(SITE.rglob("*.html")) if "_static" not in file.parts]
    found = {str(file.relative_to(SITE)): Page(file) for file in files}
    assert len(found) > 40
    return found


def test_links_lead_to_pages_files_and_places_that_are_there(pages):
    dead = []
    for name, page in pages.items():
        for link in page.links:
            url = urlsplit(link)
            if url.scheme or url.netloc:
                continue
            target = os.path.normpath(Path(name).parent / unquote(url.path)) if url.path else name
            no_such_place = url.fragment and target in pages and unquote(url.fragment) not in pages[target].anchors
            if no_such_place or not (SITE / target).is_file():
                dead.append(f"{name}: {link}")
    assert dead == []


def test_links_to_elsewhere_are_well_formed(pages):
    outside = {link for page in pages.values() for link in page.links if urlsplit(link).scheme not in ("", "data")}
    assert len(outside) > 20
    assert [link for link in sorted(outside) if not re.fullmatch(r"https://[\w.-]+\.[a-z]{2,}(/[^\s<>]*)?", link)] == []


def test_every_picture_has_a_text(pages):
    texts = {f"{name}: {address}": text for name, page in pages.items() for address, text in page.pictures.items()}
    assert [picture for picture, text in texts.items() if len(text.split()) < 3] == []


def test_no_page_shows_a_warning_of_a_library():
    text = {str(page.relative_to(SITE)): page.read_text(encoding="utf-8") for page in SITE.rglob("*.html")}
    assert [name for name, html in text.items() if "site-packages" in html] == []


# what is looked for, and a page that has to be among those with all its words
SOUGHT = {
    "clip higher": "tutorials/02_clip_higher",
    "token_mean": "reference/generated/loss_aggregator",
    "OOM": "how_to/debug_a_collapse",
}


@pytest.mark.parametrize("query", SOUGHT)
def test_the_search_finds(query):
    text = (SITE / "searchindex.js").read_text(encoding="utf-8")
    index = json.loads(text.removeprefix("Search.setIndex(").removesuffix(")"))

    def having(word: str) -> set[int]:
        found = [index[table].get(word, []) for table in ("terms", "titleterms")]  # a number, or several
        return {page for each in found for page in (each if isinstance(each, list) else [each])}

    common = set.intersection(*(having(word) for word in query.lower().split()))
    assert SOUGHT[query] in {index["docnames"][page] for page in common}


def modules() -> list[str]:
    return [name for _, name, _ in pkgutil.walk_packages(rltoolkit.__path__, "rltoolkit.")]


def source(module: str) -> str:
    return Path(importlib.util.find_spec(module).origin).read_text(encoding="utf-8")


def public_modules() -> list[ModuleType]:
    """Packages that say what they export, and modules that the reference documents whole."""
    exporting = [name for name in modules() if "._" not in name and "\n__all__ = " in source(name)]
    whole = re.findall(r"automodule:: (\S+)", (DOCS / "reference" / "python.md").read_text())
    return [importlib.import_module(name) for name in {*exporting, *whole}]


def public_names() -> Iterator[str]:
    """Every exported function, every class and its public methods; of a component the place on its kind's page."""
    components = {registry.get(kind, name): f"{kind}.{name}" for kind in registry.kinds() for name in registry.names(kind)}
    for module in public_modules():
        own = [name for name, symbol in vars(module).items() if getattr(symbol, "__module__", "") == module.__name__]
        for name in getattr(module, "__all__", own):
            symbol, full = getattr(module, name), f"{module.__name__}.{name}"
            if inspect.isclass(symbol) and symbol in components:
                yield re.sub(r"[._]", "-", components[symbol])
            elif not name.startswith("_") and callable(symbol):
                yield full
                yield from (f"{full}.{method}" for method in public_methods(symbol))


def public_methods(symbol: object) -> list[str]:
    members = vars(symbol).items() if inspect.isclass(symbol) else ()
    methods = [name for name, value in members if not name.startswith("_") and isinstance(value, METHODS)]
    modules = {name: getattr(getattr(symbol, name), "__module__", "") for name in methods}
    return [name for name in methods if not modules[name].startswith("tensordict.")]  # what makes a class a tensorclass


def test_every_tutorial_can_be_had_as_a_notebook(pages):
    tutorials = {name: page for name, page in pages.items() if re.match(r"tutorials/\d\d_", name)}
    assert len(tutorials) == 10
    for name, page in tutorials.items():
        (notebook,) = [link for link in page.links if link.endswith(".ipynb")]
        cells = json.loads((SITE / name).parent.joinpath(unquote(notebook)).read_text(encoding="utf-8"))["cells"]
        assert {"code", "markdown"} <= {cell["cell_type"] for cell in cells}


def test_every_public_symbol_is_in_the_reference(pages):
    documented = set().union(*(page.anchors for name, page in pages.items() if name.startswith("reference/")))
    names = set(public_names())
    assert len(names) > 200
    assert sorted(names - documented) == []


def test_every_column_is_in_the_reference(pages):
    assert {*columns.METRICS, *columns.EVALUATIONS} - pages["reference/generated/metrics.html"].code == set()


def test_every_command_is_in_the_reference(pages):
    # a module that does something when it is run; those with an underscore are helper processes
    runnable = [name for name in modules() if '\nif __name__ == "__main__":' in source(name)]
    commands = [name.removesuffix(".__main__") for name in runnable if "._" not in name.removesuffix(".__main__")]
    assert len(commands) >= 9
    anchors = pages["reference/generated/commands.html"].anchors
    assert [command for command in commands if "python-m-" + re.sub(r"[._]", "-", command) not in anchors] == []


def test_every_option_of_a_command_is_explained():
    lines = (DOCS / "reference" / "generated" / "commands.md").read_text(encoding="utf-8").splitlines()
    options = [(line, after) for line, after in pairwise(lines) if line.startswith("  -")]
    assert len(options) > 20
    # behind the option, two spaces away, or on the next line, further in
    assert [line for line, after in options if not re.search(r"\S  +\S", line) and not after.startswith(" " * 10)] == []
