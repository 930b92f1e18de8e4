"""Every component and every experiment says where it comes from, in a way that the paper index can read."""

from collections import defaultdict

import pytest

from rltoolkit import papers, registry

PLUG_INS = {
    registry.choice(kind, name)
    for kind in registry.kinds()
    for name in registry.names(kind)
    if not registry.get(kind, name).__module__.startswith("rltoolkit.")
}
SOURCES = {choice: source for choice, source in papers.sources().items() if choice not in PLUG_INS}


@pytest.mark.parametrize("choice", SOURCES)
def test_it_names_a_paper_or_says_that_there_is_none(choice):
    source = SOURCES[choice]
    assert source, f"{choice}: no Source in its docstring (or the comment at its head)"
    assert papers.citations(source) or source.startswith("none"), f"{choice}: 'Source: {source}' names neither a paper nor 'none'"


@pytest.mark.parametrize("choice", [choice for choice, source in SOURCES.items() if "arXiv:" in (source or "")])
def test_no_paper_is_overlooked(choice):
    found = [paper.number for paper, _ in papers.citations(SOURCES[choice]) if paper.number.startswith("arXiv:")]
    assert len(found) == SOURCES[choice].count("arXiv:"), f"{choice}: found {found} in 'Source: {SOURCES[choice]}'"


def test_a_paper_has_one_name():
    names = defaultdict(set)
    for paper in papers.index():
        if paper.number.startswith("arXiv:"):
            names[paper.number].add(paper.name)
    assert {number: found for number, found in names.items() if len(found) > 1} == {}
