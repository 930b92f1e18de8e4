import torch

from rltoolkit.reward_shaper import OverlongFiltering


def test_truncated_rows_lose_their_tokens_and_keep_their_reward(make_rollouts):
    rollouts = make_rollouts(reward=[[1.0, -1.0, -1.0]], truncated=[[False, True, False]], response_length=[[2, 4, 1]])
    filtered = OverlongFiltering()(rollouts)
    assert filtered["loss_mask"].sum(-1).tolist() == [[2, 0, 1]]
    assert filtered["reward"].tolist() == [[1.0, -1.0, -1.0]]
    assert torch.equal(filtered["response_mask"], rollouts["response_mask"])


def test_a_mask_that_is_already_narrower_stays_so(make_rollouts):
    rollouts = make_rollouts(reward=[[1.0, 1.0]], trained=[[False, True]], truncated=[[False, False]])
    assert torch.equal(OverlongFiltering()(rollouts)["loss_mask"], rollouts["loss_mask"])
