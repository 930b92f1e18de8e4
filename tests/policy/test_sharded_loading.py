"""Models whose files cannot be read in parts are loaded whole; of the others nothing is read before they are sharded."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from rltoolkit.model.tiny import Tiny
from rltoolkit.policy.loading import load_policy
from rltoolkit.policy.sharded_loading import load_without_weights


@pytest.fixture
def model(tmp_path, monkeypatch):
    monkeypatch.setenv("RLTOOLKIT_CACHE", str(tmp_path))
    return Tiny(skill_steps=0, habit_steps=0)(seed=0)


def test_a_model_without_weights_has_its_buffers_its_layout_and_a_tied_head(model):
    policy = load_without_weights(model)
    assert all(parameter.is_meta for parameter in policy.parameters())
    # rotary frequencies are in no file: theta^(-2 i / width), the first is 1
    assert policy.causal_lm.model.rotary_emb.inv_freq[0] == 1
    assert (policy.unread, policy.layout) == (model, load_policy(model).layout)
    assert policy.causal_lm.get_input_embeddings().weight is policy.causal_lm.get_output_embeddings().weight


@pytest.mark.parametrize("change", ["renamed", "of another shape", "no safetensors"])
def test_files_that_do_not_fit_are_loaded_whole(model, change):
    file = model / "model.safetensors"
    weights = load_file(file)
    file.unlink()
    if change == "renamed":
        weights = {name.removeprefix("model."): weight for name, weight in weights.items()}
    if change == "of another shape":
        weights["model.norm.weight"] = torch.zeros(3)
    if change == "no safetensors":
        torch.save(weights, model / "pytorch_model.bin")
    else:
        save_file(weights, file)
    assert load_without_weights(model) is None
