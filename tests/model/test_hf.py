"""Hugging Face models: directories, the local cache, and a hub that stands on this machine."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rltoolkit.model.hf import HuggingFace
from rltoolkit.model.tiny import Tiny

from .hub import COMMIT, serving

PROGRAM = """
import json, sys
from rltoolkit.model.hf import HuggingFace
from rltoolkit.policy.loading import load_policy, load_tokenizer
source, asked = HuggingFace(name_or_path=sys.argv[1], chat=False), []
try:
    length = source.context_length()
    print(json.dumps({"context": length}), flush=True)
    path = source(seed=0)
    load_policy(path), load_tokenizer(path)
    print(json.dumps({"path": str(path)}))
except FileNotFoundError as error:
    print(json.dumps({"error": str(error)}))
"""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RLTOOLKIT_CACHE", str(tmp_path_factory.mktemp("cache")))
        return Tiny(hidden_size=16, num_layers=1, intermediate_size=32, skill_steps=0, habit_steps=0)(seed=0)


def on_an_empty_machine(name: str, url: str, home: Path, **environment: str) -> tuple[dict, str]:
    """What PROGRAM printed, and its standard error; the only hub it knows is at ``url``."""
    variables = {**os.environ, "HF_ENDPOINT": url, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", **environment}
    variables.pop("HF_HUB_CACHE", None)
    done = subprocess.run([sys.executable, "-c", PROGRAM, name], env=variables, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    answers: dict = {}
    for line in done.stdout.splitlines():
        answers.update(json.loads(line))
    return answers, done.stderr


def test_a_directory_is_taken_as_it_is(tiny: Path) -> None:
    source = HuggingFace(name_or_path=str(tiny), chat=False)
    assert source(seed=0) == tiny
    assert source.context_length() == 128


def test_a_hub_name_is_downloaded_once(tiny: Path, tmp_path: Path) -> None:
    with serving(tiny) as hub:
        answers, progress = on_an_empty_machine("someone/tiny", hub.url, tmp_path)
        assert answers["context"] == 128
        assert Path(answers["path"]).name == COMMIT
        assert Path(answers["path"]).is_relative_to(tmp_path)
        assert "100%" in progress
        first_weights = next(index for index, line in enumerate(hub.asked) if "safetensors" in line)
        before = {line.rpartition("/")[2] for line in hub.asked[:first_weights] if line.startswith("GET /someone")}
        assert "config.json" in before

        hub.asked.clear()
        again, _ = on_an_empty_machine("someone/tiny", hub.url, tmp_path)
        assert again == answers
        assert hub.asked == []  # a model in the cache needs no network
    offline, _ = on_an_empty_machine("someone/tiny", "http://127.0.0.1:9", tmp_path, HF_HUB_OFFLINE="1")
    assert offline == answers


def test_the_context_length_costs_one_small_file(tiny: Path, tmp_path: Path) -> None:
    program = (
        "import sys; from rltoolkit.model.hf import HuggingFace; print(HuggingFace(name_or_path=sys.argv[1]).context_length())"
    )
    with serving(tiny) as hub:
        variables = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path), "HF_HUB_DISABLE_XET": "1"}
        command = [sys.executable, "-c", program, "someone/tiny"]
        assert subprocess.run(command, env=variables, capture_output=True, text=True, check=True).stdout.strip() == "128"
        assert {line.rpartition("/")[2] for line in hub.asked if "/someone/" in line} == {"config.json"}


def test_offline_nothing_is_asked_for(tiny: Path, tmp_path: Path) -> None:
    with serving(tiny) as hub:
        answers, _ = on_an_empty_machine("someone/tiny", hub.url, tmp_path, HF_HUB_OFFLINE="1")
        assert hub.asked == []
    assert answers["context"] is None
    assert answers["error"].startswith("model.name_or_path=someone/tiny: not in the local Hugging Face cache, and HF_HUB_OFFLINE")


def test_a_name_that_the_hub_does_not_know(tiny: Path, tmp_path: Path) -> None:
    with serving(tiny) as hub:
        answers, _ = on_an_empty_machine("no-one/no-such-model", hub.url, tmp_path)
    assert answers["context"] is None
    assert answers["error"].startswith("model.name_or_path=no-one/no-such-model: neither a directory nor a model on the hub")


def test_a_hub_that_does_not_answer(tmp_path: Path) -> None:
    answers, _ = on_an_empty_machine("someone/tiny", "http://127.0.0.1:9", tmp_path)  # the discard port: nobody listens
    assert "model.name_or_path=someone/tiny: not in the local Hugging Face cache, and the download failed" in answers["error"]
    assert "\n" not in answers["error"]


@pytest.mark.parametrize("name", ["/nonexistent", "./no/such/directory", "~/no/such/directory"])
def test_a_directory_that_is_not_there(name: str) -> None:
    source = HuggingFace(name_or_path=name)
    with pytest.raises(FileNotFoundError, match=rf"^model\.name_or_path={name}: no such directory \(model=hf\)$"):
        source(seed=0)
    assert source.context_length() is None


def test_what_is_neither_a_directory_nor_a_name() -> None:
    with pytest.raises(FileNotFoundError, match=r"^model\.name_or_path=a/b/c: neither a directory nor a hub name"):
        HuggingFace(name_or_path="a/b/c")(seed=0)


def test_a_directory_without_a_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"model\.name_or_path=.*no config\.json"):
        HuggingFace(name_or_path=str(tmp_path))(seed=0)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(FileNotFoundError, match=r"model\.name_or_path=.*no weights"):
        HuggingFace(name_or_path=str(tmp_path))(seed=0)


def test_a_directory_with_half_of_its_shards_is_named(tmp_path: Path) -> None:
    shards = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    (tmp_path / "config.json").write_text("{}")
    index = {"weight_map": {"model.norm.weight": shards[0], "lm_head.weight": shards[1]}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    (tmp_path / shards[0]).touch()
    with pytest.raises(FileNotFoundError, match="not all of them"):
        HuggingFace(name_or_path=str(tmp_path))(seed=0)
    (tmp_path / shards[1]).touch()
    assert HuggingFace(name_or_path=str(tmp_path))(seed=0) == tmp_path
