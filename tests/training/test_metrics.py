"""What the responses of a rollout step look like."""

import pytest
import torch

from rltoolkit.collector import CollectedStep, Counters
from rltoolkit.rollout_batch import text_entry
from rltoolkit.training.metrics import reflection_pattern, rollout_metrics


@pytest.fixture
def step(make_rollouts):
    """Group 0 is mixed and kept, group 1 all wrong and rejected; lengths 2, 4 and 6, 8; the responses 0 and 3 reconsider."""
    sampled = make_rollouts(reward=[[1.0, -1.0], [-1.0, -1.0]], response_length=[[2, 4], [6, 8]])
    sampled["response_text"] = text_entry([["4, wait, 5", "6"], ["7", "Wait. 8"]])
    return CollectedStep(
        rollouts=sampled[:1], sampled=sampled, counters=Counters(generated_groups=2, rejected_all_wrong=1), seconds=1.0,
        seconds_verification=0.5, state_after=None,
    )  # fmt: skip


def test_sampled_counts_rejected_groups_and_kept_does_not(step):
    metrics = rollout_metrics(step, 0)
    assert (metrics["sampled_accuracy"], metrics["kept_accuracy"]) == (1 / 4, 1 / 2)
    assert (metrics["sampled_reward"], metrics["kept_reward"]) == (-1 / 2, 0)
    assert (metrics["sampled_response_length"], metrics["kept_response_length"]) == (5, 3)
    assert (metrics["sampled_response_length_max"], metrics["sampled_response_length_p50"]) == (8, 5)
    assert (metrics["sampled_all_wrong"], metrics["sampled_all_correct"], metrics["kept_all_wrong"]) == (1 / 2, 0, 0)
    assert (metrics["sampled_pass_at_k"], metrics["acceptance_rate"]) == (1 / 2, 1 / 2)
    assert metrics["kept_policy_age"] == 0
    assert "kept_reward_kl" not in metrics
    step.rollouts["reward_kl"] = torch.full((1, 2), 0.3)
    assert rollout_metrics(step, 0)["kept_reward_kl"] == pytest.approx(0.3)


def test_right_and_wrong_responses_apart(step):
    metrics = rollout_metrics(step, 0, ["wait"])
    # one right response, of length 2; three wrong ones, of lengths 4, 6 and 8
    assert (metrics["sampled_response_length_right"], metrics["sampled_response_length_wrong"]) == (2, 6)
    # two of four reconsider: the right one, and one of three wrong ones
    assert metrics["sampled_reflection"] == 1 / 2
    assert (metrics["sampled_reflection_right"], metrics["sampled_reflection_wrong"]) == (1, pytest.approx(1 / 3))


def test_what_there_is_none_of_has_no_number(step):
    step.sampled["correct"][:] = False
    metrics = rollout_metrics(step, 0)
    assert "sampled_response_length_right" not in metrics
    assert metrics["sampled_response_length_wrong"] == 5
    assert not [name for name in metrics if "reflection" in name]  # no phrases were asked for


def test_reflection_phrases_are_whole_words():
    pattern = reflection_pattern(["wait", "let me recheck", "no!"])
    assert pattern.search("Hmm, wait, that is 7.")
    assert pattern.search("Let me recheck the sum.")
    assert pattern.search("Oh no!")
    assert not pattern.search("The waiter checked the await keyword.")
