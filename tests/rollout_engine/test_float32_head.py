"""Logits in float32 in an engine that computes in bfloat16, before and after it is given new weights."""

from __future__ import annotations

import pytest
import torch

from rltoolkit.rollout_engine import VLLM, Transformers

from .conftest import MAX_LENGTH, random_model, save_tokenizer

SEQUENCE = list(range(2, 40))


def model_of_embeddings(*, tied, seed):
    """Its layers add nothing, so its hidden states are the normalised embeddings, which bfloat16 rounds in one way only."""
    model = random_model(tied=tied, seed=seed)
    with torch.no_grad():
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        model.lm_head.weight.mul_(8)  # logits of up to 60: bfloat16's neighbours are 0.25 apart there
    return model.bfloat16()


def exact_log_probs(model):
    """Of the tokens of ``SEQUENCE`` but the first, with a float64 product of the same bfloat16 states and weights."""
    with torch.no_grad():
        states = model.model(torch.tensor([SEQUENCE])).last_hidden_state[0, :-1]
        logits = states.double() @ model.lm_head.weight.double().T
    return logits.log_softmax(-1).gather(-1, torch.tensor(SEQUENCE)[1:, None]).squeeze(-1)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("spec", [VLLM, Transformers])
@pytest.mark.parametrize(("head_dtype", "smallest", "largest"), [("auto", 0.02, 1.0), ("float32", 0.0, 1e-4)])
def test_log_probs_are_those_of_the_exact_product(spec, tied, head_dtype, smallest, largest, tmp_path, process_group):
    if spec is VLLM:
        pytest.importorskip("vllm")
    save_tokenizer(tmp_path)
    model_of_embeddings(tied=tied, seed=0).save_pretrained(tmp_path)
    engine = spec(dtype="bfloat16", head_dtype=head_dtype)(model_path=tmp_path, max_length=MAX_LENGTH, seed=0)
    try:
        for version in (0, 1):
            model = model_of_embeddings(tied=tied, seed=version)
            if version:
                engine.update_weights(model.state_dict().items(), version)
            (found,) = engine.log_probs([SEQUENCE])
            assert smallest <= (found - exact_log_probs(model)).abs().max() <= largest
    finally:
        engine.close()
