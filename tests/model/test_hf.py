"""A model that is already on this machine."""

from pathlib import Path

import pytest

from rltoolkit.model.hf import HuggingFace
from rltoolkit.model.tiny import Tiny


def test_a_directory_is_taken_as_it_is() -> None:
    path = Tiny(hidden_size=16, num_layers=1, intermediate_size=32, skill_steps=0, habit_steps=0)(seed=0)
    source = HuggingFace(name_or_path=str(path), chat=False)
    assert source(seed=0) == path
    assert source.context_length() == 128


def test_a_name_in_the_local_cache_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants

    snapshot = tmp_path / "models--someone--model" / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    references = tmp_path / "models--someone--model" / "refs"
    references.mkdir()
    (references / "main").write_text("0" * 40)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    assert HuggingFace(name_or_path="someone/model")(seed=0) == snapshot


@pytest.mark.parametrize("name", ["no-one/no-such-model", "./no/such/directory"])
def test_what_is_not_here_is_named_and_never_downloaded(name: str) -> None:
    source = HuggingFace(name_or_path=name)
    with pytest.raises(FileNotFoundError, match=rf"model\.name_or_path='{name}' \(hf\)"):
        source(seed=0)
    assert source.context_length() is None


def test_a_directory_without_a_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"model\.name_or_path=.*no config\.json"):
        HuggingFace(name_or_path=str(tmp_path))(seed=0)
