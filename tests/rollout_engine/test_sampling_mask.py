"""What an engine says it kept, against the model's own probabilities; and a trainer that replays it."""

import pytest
import torch

from rltoolkit.policy.policy import PolicyModel
from rltoolkit.rollout_engine import Sampling
from rltoolkit.sampling_mask import KEYS, SamplingMask

from .conftest import random_model

# the second leaves room for 8 tokens of the engine's 48: its responses leave the batch while the first's go on to 12
PROMPTS, SEEDS = [[2, 12, 3], list(range(4, 44))], [0, 1]
CUTS = {
    "top-p": {"top_p": 0.8},
    "top-k": {"top_k": 5},
    "both": {"top_p": 0.8, "top_k": 5},
}


def by_definition(logits, top_p=1.0, top_k=0):
    """The tokens kept: the top-k first, then of those the fewest whose probabilities reach top-p together."""
    order = logits.sort(descending=True).indices[: top_k or None]
    reached = logits[order].double().softmax(-1).cumsum(0)
    return set(order[: int((reached < top_p).sum()) + 1].tolist())


@pytest.fixture
def rollouts(transformers_engine):
    def generate(**cut):
        transformers_engine.update_weights(random_model(tied=True, seed=0).state_dict().items(), version=0)
        sampling = Sampling(temperature=0.7, max_new_tokens=12, sampling_mask=True, **cut)
        return transformers_engine.generate(PROMPTS, 3, sampling, SEEDS)

    return generate


@pytest.mark.parametrize("cut", CUTS.values(), ids=CUTS)
def test_the_engine_says_what_it_chose_from(rollouts, cut):
    rows, model, sizes = rollouts(**cut).flatten(0, 1), random_model(tied=True, seed=0), set()
    for tokens, mask, ids, counts in zip(*(rows[key] for key in ("input_ids", "response_mask", *KEYS)), strict=True):
        with torch.no_grad():
            logits = model(tokens[None]).logits[0] / 0.7
        assert torch.equal(counts > 0, mask)
        sets = ids[: int(counts.sum())].split(counts[mask].tolist())
        for position, kept in zip(mask.nonzero().squeeze(-1).tolist(), sets, strict=True):
            assert set(kept.tolist()) == by_definition(logits[position - 1], **cut)
            assert int(tokens[position]) in kept
            sizes.add(len(kept))
    assert {8, 12} <= set(rows["response_length"].tolist())
    assert len(sizes) > 1 or cut == {"top_k": 5}
    assert max(sizes) <= 5 or "top_k" not in cut


@pytest.mark.parametrize("cut", CUTS.values(), ids=CUTS)
def test_a_trainer_that_replays_the_mask_finds_the_engines_log_probs(rollouts, cut):
    rows = rollouts(**cut).flatten(0, 1)
    policy = PolicyModel(random_model(tied=True, seed=0), chunk_logits=7 * 48)  # chunks of 7 tokens cut through rows
    ask = (rows["input_ids"], rows["response_mask"], 0.7)
    with torch.no_grad():
        replayed, plain = policy(*ask, SamplingMask.of_rows(rows)).log_probs, policy(*ask).log_probs
    torch.testing.assert_close(replayed, rows["rollout_log_probs"], rtol=0, atol=1e-5)
    # without it every token is less likely by the share of what was kept: at most 1, and 0.8 or more of it under top-p alone
    share = (plain - rows["rollout_log_probs"])[rows["response_mask"]].exp()
    assert share.max() < 1 + 1e-5
    assert share.mean() < 0.97
    assert cut != {"top_p": 0.8} or share.min() > 0.8 - 1e-5


def test_nothing_is_recorded_where_nothing_is_cut_off_or_nobody_asks(rollouts, transformers_engine):
    assert not set(KEYS) & set(rollouts().keys())
    evaluated = transformers_engine.generate(PROMPTS, 2, Sampling(top_p=0.7, max_new_tokens=4), SEEDS)
    assert not set(KEYS) & set(evaluated.keys())


def test_the_gradient_is_that_of_a_softmax_over_the_kept_logits(rollouts):
    rows = rollouts(top_p=0.8).flatten(0, 1)
    mask, kept = rows["response_mask"], SamplingMask.of_rows(rows)
    weights = torch.randn(mask.shape, generator=torch.Generator().manual_seed(0))
    model = random_model(tied=True, seed=0).double()
    statistics = PolicyModel(model)(rows["input_ids"], mask, 0.7, kept)
    (weights * (statistics.log_probs + 0.5 * statistics.entropy)).sum().backward()
    ours = [parameter.grad.clone() for parameter in model.parameters()]

    model.zero_grad()
    total = torch.zeros((), dtype=torch.float64)
    logits = model(rows["input_ids"]).logits / 0.7
    for row in range(len(mask)):
        sizes = kept.counts[row][mask[row]].tolist()
        sets = iter(kept.ids[row, : sum(sizes)].long().split(sizes))
        for position in mask[row].nonzero().squeeze(-1).tolist():
            ids = next(sets)
            distribution = torch.distributions.Categorical(logits=logits[row, position - 1][ids])
            place = (ids == rows["input_ids"][row, position]).nonzero().squeeze()
            total = total + weights[row, position] * (distribution.log_prob(place) + 0.5 * distribution.entropy())
    total.backward()
    torch.testing.assert_close(ours, [parameter.grad for parameter in model.parameters()], rtol=1e-4, atol=1e-5)
