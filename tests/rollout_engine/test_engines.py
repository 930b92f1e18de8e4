"""What both engines promise, checked on the same tiny model against its plain forward pass."""

from __future__ import annotations

import math

import pytest
import torch

from rltoolkit.rollout_batch import KEYS, text_list
from rltoolkit.rollout_engine import Sampling

from .conftest import CHARACTERS, MAX_LENGTH, random_model, reference_log_probs

PROMPTS = [[2, 12, 3], [4, 5, 6, 7, 8, 9, 10], [20, 21, 22, 23], [30]]
SEEDS = [0, 1, 2, 3]


def rows(rollouts, prompt):
    """Response tokens of each of a prompt's responses."""
    return [
        tokens[mask].tolist()
        for tokens, mask in zip(rollouts["input_ids"][prompt], rollouts["response_mask"][prompt], strict=True)
    ]


def test_rollouts_hold_what_the_engine_writes(engine):
    rollouts = engine.generate(PROMPTS, 8, Sampling(max_new_tokens=16), SEEDS)

    assert rollouts.batch_size == (4, 8)
    assert set(rollouts.keys()) == {name for name, key in KEYS.items() if key.writer == "engine"}
    for name in set(rollouts.keys()) - {"response_text"}:
        assert str(rollouts[name].dtype) == f"torch.{KEYS[name].dtype}", name
    mask, tokens, lengths = rollouts["response_mask"], rollouts["input_ids"], rollouts["response_length"]
    assert torch.equal(mask.sum(-1), lengths)
    assert tokens.shape[-1] == max(len(PROMPTS[p]) + int(lengths[p].max()) for p in range(4))
    texts = iter(text_list(rollouts, "response_text"))
    for p, prompt in enumerate(PROMPTS):
        for g, response in enumerate(rows(rollouts, p)):
            end = len(prompt) + len(response)
            assert tokens[p, g, :end].tolist() == prompt + response
            assert mask[p, g].nonzero().squeeze(-1).tolist() == list(range(len(prompt), end))
            assert not tokens[p, g, end:].any()
            # 0 is the end of sequence: it ends the response, belongs to it, and is the alternative to the limit of 16.
            assert 0 not in response[:-1]
            assert bool(rollouts["truncated"][p, g]) == (response[-1] != 0)
            assert response[-1] == 0 or len(response) == 16
            assert next(texts) == "".join(CHARACTERS[token - 2] for token in response if token >= 2)  # "#", "_" are special
    assert rollouts["truncated"].any()
    assert not rollouts["truncated"].all()
    assert not rollouts["rollout_log_probs"][~mask].any()
    assert (rollouts["rollout_log_probs"][mask] < 0).all()


def test_log_probs_are_those_of_the_scaled_logits(engine):
    model = random_model(tied=True, seed=0)
    rollouts = engine.generate(PROMPTS, 2, Sampling(temperature=0.7, max_new_tokens=12), SEEDS)

    for tokens, mask, sampled in zip(
        *(rollouts[key].flatten(0, 1) for key in ("input_ids", "response_mask", "rollout_log_probs")), strict=True
    ):
        expected = reference_log_probs(model, tokens[: mask.nonzero().max() + 1].tolist(), temperature=0.7)
        torch.testing.assert_close(sampled[mask], expected[-int(mask.sum()) :], atol=1e-4, rtol=0)


def test_given_tokens_are_scored_as_by_the_model(engine):
    model, sequences = random_model(tied=True, seed=0), [[2, 3, 4, 5, 6], list(range(MAX_LENGTH)), [7, 7]]
    for scores, sequence in zip(engine.log_probs(sequences), sequences, strict=True):
        torch.testing.assert_close(scores, reference_log_probs(model, sequence), atol=1e-4, rtol=0)


def test_a_response_depends_on_its_seed_and_index_alone(engine):
    sampling = Sampling(max_new_tokens=12)
    together = engine.generate(PROMPTS, 4, sampling, SEEDS)
    reordered = engine.generate([PROMPTS[3], PROMPTS[1]], 2, sampling, [SEEDS[3], SEEDS[1]])

    assert rows(reordered, 0) == rows(together, 3)[:2]
    assert rows(reordered, 1) == rows(together, 1)[:2]


def test_neighbouring_seeds_share_no_stream(engine):
    rollouts = engine.generate([PROMPTS[0]] * 3, 4, Sampling(max_new_tokens=12), [0, 1, 2])
    responses = [tuple(response) for p in range(3) for response in rows(rollouts, p)]
    assert len(set(responses)) == 12


def test_sampling_follows_the_probabilities(engine):
    """The first token of 4,096 responses to one prompt, against its exact distribution (Pearson's chi-square)."""
    probabilities = first_token_probabilities(PROMPTS[0])
    rollouts = engine.generate([PROMPTS[0]] * 64, 64, Sampling(max_new_tokens=1), list(range(64)))
    tokens = rollouts["input_ids"][rollouts["response_mask"]]
    observed, expected = torch.bincount(tokens, minlength=len(probabilities)).double(), 4096 * probabilities

    enough = expected >= 5  # the approximation needs about 5 expected counts in a cell; the rest make one cell together
    observed = torch.cat([observed[enough], observed[~enough].sum()[None]])
    expected = torch.cat([expected[enough], expected[~enough].sum()[None]])
    statistic = ((observed - expected) ** 2 / expected.clamp(min=1e-9)).sum().item()
    # Mean k and variance 2k for k degrees of freedom; five standard deviations are passed by chance once in 10,000 or rarer.
    k = len(expected) - 1
    assert k > 10
    assert statistic < k + 5 * math.sqrt(2 * k)


def test_top_p_keeps_the_smallest_set_that_reaches_it(engine):
    probabilities, order = first_token_probabilities(PROMPTS[0]).sort(descending=True)
    size = int((probabilities.cumsum(0) < 0.5).sum()) + 1
    nucleus, share = set(order[:size].tolist()), probabilities[:size].sum()
    rollouts = engine.generate([PROMPTS[0]] * 16, 16, Sampling(top_p=0.5, max_new_tokens=1), list(range(16)))
    tokens, mask = rollouts["input_ids"], rollouts["response_mask"]

    assert set(tokens[mask].tolist()) <= nucleus
    # What was sampled from is renormalised over the nucleus: p / share.
    expected = (first_token_probabilities(PROMPTS[0])[tokens[mask]] / share).log().float()
    torch.testing.assert_close(rollouts["rollout_log_probs"][mask], expected, atol=1e-4, rtol=0)


def test_temperature_zero_takes_the_most_probable_token(engine):
    rollouts = engine.generate([PROMPTS[0]], 2, Sampling(temperature=0.0, max_new_tokens=1), [0])
    best = int(first_token_probabilities(PROMPTS[0]).argmax())
    assert rows(rollouts, 0) == [[best], [best]]


def test_new_weights_are_in_use_at_once(engine):
    sequence = list(range(2, 40))
    for version in (1, 2, 3):
        model = random_model(tied=True, seed=version)
        engine.update_weights(model.state_dict().items(), version)
        (scores,) = engine.log_probs([sequence])
        torch.testing.assert_close(scores, reference_log_probs(model, sequence), atol=1e-4, rtol=0)
    assert (engine.generate(PROMPTS, 2, Sampling(max_new_tokens=2), SEEDS)["policy_version"] == 3).all()


@pytest.mark.parametrize(
    ("prompts", "seeds", "message"),
    [
        ([], [], "at least one prompt"),
        ([[2]], [0, 1], "a seed for each prompt; got 1 prompts, group_size=1, 2 seeds"),
        ([[2], []], [0, 1], "prompt 1 has 0 tokens"),
        ([[2] * MAX_LENGTH], [0], r"prompt 0 has 48 tokens; the engine takes 1 to 47 \(max_length=48\)"),
    ],
)
def test_impossible_requests_are_refused(engine, prompts, seeds, message):
    with pytest.raises(ValueError, match=message):
        engine.generate(prompts, 1, Sampling(), seeds)


def test_a_response_ends_at_the_engine_s_length(engine):
    rollouts = engine.generate([[2] * 45], 8, Sampling(max_new_tokens=100), [0])
    # 48 - 45 = 3 tokens are left
    assert int(rollouts["response_length"].max()) == 3
    assert torch.equal(rollouts["truncated"], rollouts["input_ids"][..., -1] != 0)


def first_token_probabilities(prompt):
    with torch.no_grad():
        return random_model(tied=True, seed=0)(torch.tensor([prompt])).logits[0, -1].double().softmax(-1)


def test_an_engine_that_slept_answers_as_before(engine):
    asked = (PROMPTS, 4, Sampling(max_new_tokens=8), SEEDS)
    before = engine.generate(*asked)
    engine.sleep()
    assert torch.equal(engine.generate(*asked)["input_ids"], before["input_ids"])
