"""What the sampled responses of a rollout step look like."""

import pytest
import torch

from rltoolkit.collector import CollectedStep, Counters
from rltoolkit.training.metrics import REFLECTION, rollout_metrics


def test_means_count_rejected_groups_too(make_rollouts):
    # group 0 is mixed and kept, group 1 all wrong and rejected; lengths 2, 4 and 6, 8
    sampled = make_rollouts(reward=[[1.0, -1.0], [-1.0, -1.0]], response_length=[[2, 4], [6, 8]])
    step = CollectedStep(
        rollouts=sampled[:1], sampled=sampled, counters=Counters(generated_groups=2, rejected_all_wrong=1), seconds=1.0,
        seconds_verification=0.5, state_after=None,
    )  # fmt: skip
    metrics = rollout_metrics(step)
    assert (metrics["accuracy"], metrics["reward"]) == (1 / 4, -1 / 2)
    assert (metrics["response_length"], metrics["response_length_max"], metrics["response_length_p50"]) == (5, 8, 5)
    assert (metrics["zero_variance_groups"], metrics["acceptance_rate"]) == (1 / 2, 1 / 2)
    assert metrics["policy_age"] == 0
    assert "reward_kl" not in metrics
    step.rollouts["reward_kl"] = torch.full((1, 2), 0.3)
    assert rollout_metrics(step)["reward_kl"] == pytest.approx(0.3)


def test_reflection_phrases():
    assert REFLECTION.search("Hmm, wait, that is 7.")
    assert REFLECTION.search("Let me recheck the sum.")
    assert not REFLECTION.search("The waiter checked the await keyword.")
