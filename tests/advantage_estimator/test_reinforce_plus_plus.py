import pytest
import torch

from rltoolkit.advantage_estimator import ReinforcePlusPlus


def test_every_token_of_the_batch_counts(make_rollouts):
    # 1 + 3 + 2 + 2 = 8 tokens; mean (1 - 3 + 4 + 4) / 8 = 0.75; centred 0.25 -1.75 1.25 1.25
    # squares 1 * 0.0625 + 3 * 3.0625 + 2 * 1.5625 + 2 * 1.5625 = 15.5; std = sqrt(15.5 / 8) = 1.391941
    rollouts = make_rollouts(reward=[[1.0, -1.0], [2.0, 2.0]], response_length=[[1, 3], [2, 2]])
    expected = [0.179605, -1.257237, 0.898027, 0.898027]
    assert ReinforcePlusPlus()(rollouts).flatten().tolist() == pytest.approx(expected, abs=2e-6)


def test_it_is_the_normalisation_of_rewards_written_out_token_by_token(make_rollouts):
    rewards, lengths = torch.tensor([1.0, -1.0, 0.5, 2.0], dtype=torch.float64), torch.tensor([1, 7, 3, 2])
    tokens = rewards.repeat_interleave(lengths)
    expected = (rewards - tokens.mean()) / tokens.std(correction=0)
    rollouts = make_rollouts(reward=[rewards[:2].tolist(), rewards[2:].tolist()], response_length=[[1, 7], [3, 2]])
    assert ReinforcePlusPlus()(rollouts).flatten().tolist() == pytest.approx(expected.tolist(), abs=2e-6)


def test_every_response_of_the_batch_counts_once_if_asked(make_rollouts):
    # batch mean 1, centred 0 -2 1 1, std = sqrt(6 / 3) = 1.414214: 0, -1.414214, 0.707107, 0.707107, whatever the lengths
    rollouts = make_rollouts(reward=[[1.0, -1.0], [2.0, 2.0]], response_length=[[1, 3], [2, 2]])
    found = ReinforcePlusPlus(weigh_by_length=False)(rollouts).flatten().tolist()
    assert found == pytest.approx([0, -1.414214, 0.707107, 0.707107], abs=2e-6)


def test_one_response_to_a_prompt_is_enough(make_rollouts):
    # equal lengths: batch mean 0, std = sqrt((3 + 3) / 6) = 1
    assert ReinforcePlusPlus.min_group_size == 1
    found = ReinforcePlusPlus()(make_rollouts(reward=[[1.0], [-1.0]]))
    assert found.flatten().tolist() == pytest.approx([1, -1], abs=2e-6)


def test_excluded_rows_leave_both(make_rollouts):
    # counted 1 (1 token) and -1 (3 tokens): mean -0.5, squares 2.25 + 3 * 0.25 = 3, std = sqrt(3 / 4) = 0.866025
    # A = 1.5 / 0.866025 and -0.5 / 0.866025
    rollouts = make_rollouts(reward=[[1.0, -1.0, 7.0]], response_length=[[1, 3, 9]], trained=[[True, True, False]])
    found = ReinforcePlusPlus(exclude_masked=True)(rollouts).flatten().tolist()
    assert found == pytest.approx([1.732051, -0.577350, 0], abs=3e-6)


@pytest.mark.parametrize("weigh_by_length", [True, False])
def test_a_batch_of_equals_gets_exactly_zero(make_rollouts, weigh_by_length):
    rollouts = make_rollouts(reward=[[0.1] * 7] * 3, response_length=[[1, 2, 3, 4, 5, 6, 7]] * 3)
    assert not ReinforcePlusPlus(weigh_by_length=weigh_by_length)(rollouts).any()
