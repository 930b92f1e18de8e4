"""The demonstrations, and what learning from them does."""

from itertools import islice

import pytest
import torch

from rltoolkit.arithmetic import is_held_out
from rltoolkit.model._warm_start import Demonstration, Phase, _by_length, _collate, demonstrations, train
from rltoolkit.model.tiny import Tiny, character_tokenizer
from rltoolkit.policy.policy import PolicyModel

PHASE = Phase(
    name="test",
    steps=12,
    learning_rate=1e-2,
    shares={"direct": 0.5, "scratchpad": 0.4, "junk": 0.1},
    priors={"direct": 0.8, "scratchpad": 0.16, "junk": 0.04},
    rambling=0.5,
    persistence=0.9,
    batch_size=16,
)


def style(one: Demonstration) -> str:
    return {"=": "direct", "~": "junk"}.get(one.response[0], "scratchpad")


def test_styles_come_in_their_shares_with_weights_that_turn_shares_into_priors() -> None:
    sample = list(islice(demonstrations(PHASE, 56, seed=0), 4000))
    for name, share in PHASE.shares.items():
        ours = [one for one in sample if style(one) == name]
        # the standard error of a share of 0.5 over 4000 draws is 0.008
        assert len(ours) / len(sample) == pytest.approx(share, abs=4 * 0.008)
        # 0.8 / 0.5, 0.16 / 0.4, 0.04 / 0.1
        weight = {"direct": 1.6, "scratchpad": 0.4, "junk": 0.4}[name]
        assert [one.first_weight for one in ours] == pytest.approx([weight] * len(ours))


def test_demonstrations_keep_off_what_is_held_out_and_within_the_response_limit() -> None:
    sample = list(islice(demonstrations(PHASE, 30, seed=0), 500))
    assert not any(is_held_out(one.prompt) for one in sample)
    assert max(len(one.response) for one in sample) == 30


def test_only_the_response_is_trained_on_and_its_first_token_is_weighted() -> None:
    ids = {character: index for index, character in enumerate("?0123456789+-=;~#")}
    batch = [Demonstration("1+2=", "=3#", 0.5), Demonstration("1+1=", "1+1=2#", 2.0)]
    input_ids, weights = _collate(batch, ids)
    assert input_ids.tolist() == [[2, 11, 3, 13, 13, 4, 16, 0, 0, 0], [2, 11, 2, 13, 2, 11, 2, 13, 3, 16]]
    assert weights.tolist() == [[0, 0, 0, 0, 0.5, 1, 1, 0, 0, 0], [0, 0, 0, 0, 2, 1, 1, 1, 1, 1]]


def test_slices_by_length_hold_the_whole_batch() -> None:
    batch = list(islice(demonstrations(PHASE, 56, seed=0), 10))
    slices = _by_length(batch)  # ten in four slices: ceil(10 / 4) = 3, 3, 3 and 1
    assert [len(part) for part in slices] == [3, 3, 3, 1]
    assert sorted(map(str, batch)) == sorted(str(one) for part in slices for one in part)


def test_learning_lowers_the_loss_and_follows_from_the_seed() -> None:
    tokenizer = character_tokenizer()
    source = Tiny(hidden_size=16, num_layers=1, intermediate_size=32)

    def run(seed: int) -> tuple[list[float], list[torch.Tensor]]:
        policy = PolicyModel(source._untrained(seed=0))
        losses = list(train(policy, tokenizer.get_vocab(), PHASE, max_response=56, seed=seed))
        return losses, [parameter.detach() for parameter in policy.parameters()]

    (losses, weights), (losses_again, weights_again), (other_losses, _) = run(0), run(0), run(1)
    assert losses[-1] < losses[0]
    assert losses == losses_again
    torch.testing.assert_close(weights, weights_again, rtol=0, atol=0)
    assert losses != other_losses
