"""A cached directory is made once, in full or not at all."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rltoolkit.model._cache import cache_root, cached_directory


def write(directory: Path, text: str) -> None:
    (directory / "file").write_text(text)


def test_it_stands_under_the_variables_directory_and_is_made_once(cache: Path) -> None:
    first = cached_directory("it", {"size": 1}, lambda directory: write(directory, "first"))
    second = cached_directory("it", {"size": 1}, lambda directory: write(directory, "second"))
    assert first == second
    assert first.parent == cache_root() == cache
    assert (first / "file").read_text() == "first"


def test_another_identity_is_another_directory() -> None:
    one, two = (cached_directory("it", {"size": size}, lambda directory: write(directory, "x")) for size in (1, 2))
    assert one != two


def test_a_failure_leaves_nothing_behind_and_the_next_call_tries_again(cache: Path) -> None:
    def fail(directory: Path) -> None:
        write(directory, "half")
        raise RuntimeError("disk full")

    with pytest.raises(RuntimeError, match="disk full"):
        cached_directory("it", {}, fail)
    assert not [path for path in cache.iterdir() if path.is_dir()]
    assert (cached_directory("it", {}, lambda directory: write(directory, "whole")) / "file").read_text() == "whole"


def test_who_comes_while_it_is_being_made_waits_and_takes_the_same() -> None:
    made: list[Path] = []

    def make(directory: Path) -> None:
        made.append(directory)
        write(directory, "x")

    with ThreadPoolExecutor(4) as pool:
        paths = list(pool.map(lambda _: cached_directory("it", {}, make), range(4)))
    assert len(set(paths)) == 1
    assert len(made) == 1
