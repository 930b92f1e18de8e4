"""The tiny model, from its sizes to the directory that it makes."""

from pathlib import Path

import pytest
import torch

from rltoolkit.arithmetic import ALPHABET
from rltoolkit.model._warm_start import train
from rltoolkit.model.tiny import Tiny, character_tokenizer
from rltoolkit.policy.loading import context_length, encode, load_policy, load_tokenizer, read_architecture
from rltoolkit.policy.policy import PolicyModel

SMALL = {"hidden_size": 16, "num_layers": 1, "intermediate_size": 32, "skill_steps": 2, "habit_steps": 1}


def test_the_default_has_152704_parameters() -> None:
    """Embeddings 18 * 64 = 1,152 (the head is tied). A layer: attention 4 * 64 * 64 + 3 * 64 (biases) = 16,576, SwiGLU
    3 * 64 * 176 = 33,792, two norms 128: 50,496, three times 151,488. Final norm 64. Together 152,704."""
    model = Tiny()._untrained(seed=0)
    assert sum(parameter.numel() for parameter in model.parameters()) == 152_704


def test_one_character_is_one_token_and_back() -> None:
    tokenizer = character_tokenizer()
    ids = encode(tokenizer, [("user", ALPHABET)], chat=False)
    assert len(ids) == len(set(ids)) == len(ALPHABET) == 16
    assert tokenizer.decode(ids) == ALPHABET
    assert tokenizer.decode(ids, skip_special_tokens=True) == ALPHABET.removesuffix("#")
    assert tokenizer.eos_token == "#"


def test_the_directory_loads_and_is_made_once(cache: Path) -> None:
    source = Tiny(**SMALL)
    path = source(seed=0)
    assert path == source(seed=0) == Tiny(**SMALL, warm_start_seed=0)(seed=5)
    assert len([entry for entry in cache.iterdir() if entry.is_dir()]) == 2  # this one, and the skill that it was made from
    tokenizer, policy = load_tokenizer(path), load_policy(path)
    assert tokenizer.get_vocab() == character_tokenizer().get_vocab()
    assert policy.causal_lm.generation_config.eos_token_id == tokenizer.eos_token_id
    assert context_length(read_architecture(path / "config.json")) == source.context_length()


def test_the_same_seed_makes_the_same_weights_and_leaves_the_random_state_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = torch.random.get_rng_state()
    weights = []
    for cache, seed in [("a", 3), ("b", 3), ("c", 4)]:
        monkeypatch.setenv("RLTOOLKIT_CACHE", str(tmp_path / cache))
        weights.append(dict(load_policy(Tiny(**SMALL)(seed)).hf_weights()))
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.testing.assert_close(weights[0], weights[1], rtol=0, atol=0)
    assert not torch.equal(weights[0]["model.embed_tokens.weight"], weights[2]["model.embed_tokens.weight"])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("hidden_size", 30),
        ("num_layers", 0),
        ("num_heads", 0),
        ("skill_steps", -1),
        ("scratchpad_prior", 0.2),
        ("rambling", 1.1),
        ("max_operands", 1),
        ("limit", 23),
        ("max_response", 0),
        ("persistence", 1.0),
    ],
)
def test_a_value_out_of_range_is_named(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"model\.{field}={value}: .*\(model=tiny\)"):
        Tiny(**{field: value})


def test_models_of_one_skill_share_it_and_a_habit_goes_on_from_it(cache: Path) -> None:
    source = Tiny(**SMALL)
    path = source(seed=3)
    other = Tiny(**SMALL, direct_prior=0.5, scratchpad_prior=0.4)(seed=3)
    assert len([entry for entry in cache.iterdir() if entry.is_dir()]) == 3  # two habits, one skill
    assert other != path
    policy = PolicyModel(source._untrained(seed=3), layout="padded")  # both phases without a break
    for phase in source.phases():
        list(train(policy, character_tokenizer().get_vocab(), phase, max_response=source.max_response, seed=3))
    torch.testing.assert_close(dict(load_policy(path).hf_weights()), dict(policy.hf_weights()), rtol=0, atol=0)
