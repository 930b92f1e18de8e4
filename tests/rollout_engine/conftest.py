"""Tiny random Qwen2 checkpoints, their forward pass as the reference, and engines that start once for all tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from rltoolkit.rollout_engine import VLLM, RolloutEngine, Transformers

MAX_LENGTH = 48
CHARACTERS = "0123456789+-*=() abcdefghijklmnopqrstuvwxyz?.:"


def random_model(*, tied: bool, seed: int):
    """64 wide, 3 layers, heads of 32 (vLLM's smallest on the CPU); weights large enough that its choices are not uniform."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(seed)
    config = Qwen2Config(
        vocab_size=len(CHARACTERS) + 2,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=3,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=64,
        initializer_range=0.15,
        tie_word_embeddings=tied,
        bos_token_id=None,
        eos_token_id=0,
        pad_token_id=0,
    )
    return Qwen2ForCausalLM(config).eval()


def save_checkpoint(folder: Path, *, tied: bool) -> Path:
    save_tokenizer(folder)
    random_model(tied=tied, seed=0).save_pretrained(folder)
    return folder


def save_tokenizer(folder: Path) -> None:
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {"#": 0, "_": 1, **{character: index for index, character in enumerate(CHARACTERS, start=2)}}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="_"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    tokenizer.decoder = decoders.Fuse()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="#", pad_token="#", unk_token="_").save_pretrained(folder)


def reference_log_probs(model, sequence: Sequence[int], temperature: float = 1.0) -> Tensor:
    """log_softmax(logits / temperature) of each token but the first, from one full forward pass."""
    tokens = torch.tensor(sequence)
    with torch.no_grad():
        logits = model(tokens[None], use_cache=False).logits[0, :-1]
    return (logits / temperature).log_softmax(-1).gather(-1, tokens[1:, None]).squeeze(-1)


def add(groups, finished):
    """Cut what finished together, (k keys, rollouts [k, G]), into its groups."""
    keys, rollouts = finished
    assert not groups.keys() & set(keys)
    groups.update(zip(keys, rollouts.unbind(0), strict=True))


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory) -> Callable[[bool], Path]:
    folders = {tied: save_checkpoint(tmp_path_factory.mktemp(f"tied_{tied}"), tied=tied) for tied in (True, False)}
    return folders.__getitem__


@pytest.fixture(scope="module")  # an engine that runs fixes for all others of its process whether models have experts
def vllm_engine(checkpoint, process_group) -> Iterator[RolloutEngine]:
    """In this process, beside a process group that the trainer brought."""
    pytest.importorskip("vllm")
    engine = VLLM()(model_path=checkpoint(True), max_length=MAX_LENGTH, seed=0)
    yield engine
    engine.close()
    assert torch.distributed.is_initialized(), "the engine destroyed the trainer's process group"


@pytest.fixture(scope="session")
def transformers_engine(checkpoint) -> RolloutEngine:
    return Transformers(device="cpu")(model_path=checkpoint(True), max_length=MAX_LENGTH, seed=0)


@pytest.fixture(params=["vllm", "transformers"])
def engine(request) -> Iterator[RolloutEngine]:
    """Each engine in turn, with the checkpoint's weights."""
    engine = request.getfixturevalue(f"{request.param}_engine")
    engine.update_weights(random_model(tied=True, seed=0).state_dict().items(), version=0)
    return engine
