"""A cache of their own for the tests of models."""

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RLTOOLKIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"
