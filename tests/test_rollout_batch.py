import torch
from tensordict import TensorDict

from rltoolkit.rollout_batch import KEYS, row_lengths, rows, stack_groups, text_entry, text_list, with_entries


def test_text_is_indexed_with_its_group(make_rollouts):
    rollouts = make_rollouts(reward=[[1, 0], [0, 0], [1, 1]])
    assert text_list(rollouts, "response_text") == [f"response {p}.{g}" for p in range(3) for g in range(2)]
    assert text_list(rollouts[torch.tensor([True, False, True])], "answer") == ["answer 0", "answer 0", "answer 2", "answer 2"]
    assert text_list(rollouts[torch.tensor([2, 0])], "answer") == ["answer 2", "answer 2", "answer 0", "answer 0"]
    assert text_list(rollouts[:, 1:], "response_text") == ["response 0.1", "response 1.1", "response 2.1"]


def test_equal_texts_stay_one_for_each_row():
    entry = TensorDict({"answer": text_entry([["same", "same"], ["same", "same"]])}, batch_size=[2, 2])
    assert text_list(torch.stack([entry[0], entry[0], entry[1]]), "answer") == ["same"] * 6


def test_with_entries_shares_tensors_and_leaves_the_input_alone(make_rollouts):
    rollouts = make_rollouts(reward=[[1, -1]])
    changed = with_entries(rollouts, reward=torch.tensor([[5.0, 6.0]]))
    assert changed["reward"].tolist() == [[5, 6]]
    assert rollouts["reward"].tolist() == [[1, -1]]
    assert changed["input_ids"] is rollouts["input_ids"]
    assert set(changed.keys()) == set(rollouts.keys())
    assert text_list(changed, "response_text") == text_list(rollouts, "response_text")
    assert "advantage" not in with_entries(rollouts, reward=rollouts["reward"]).keys()  # noqa: SIM118  (over keys, not the batch)


def test_stack_groups_pads_and_cuts_to_the_longest_row(make_rollouts):
    # prompts of 2 tokens: rows end at 2 + 1, 2 + 4, 2 + 2, 2 + 3, so the stack is 6 wide
    short = make_rollouts(reward=[[1, 0]], response_length=[[2, 3]])[0]
    long = make_rollouts(reward=[[0, 1]], response_length=[[1, 4]])[0]
    per_token = ("input_ids", "response_mask", "rollout_log_probs", "loss_mask")
    wide = with_entries(long, **{key: torch.nn.functional.pad(long[key], (0, 10)) for key in per_token})  # columns no row needs
    stacked = stack_groups([short, wide])
    assert stacked.batch_size == (2, 2)
    assert row_lengths(stacked).tolist() == [[4, 5], [3, 6]]
    for key in per_token:
        assert stacked[key].shape == (2, 2, 6)
        assert torch.equal(stacked[key][1], long[key])
        assert torch.equal(stacked[key][0][:, :5], short[key])
        assert not stacked[key][0][:, 5:].any()
    assert text_list(stacked, "response_text") == ["response 0.0", "response 0.1"] * 2
    assert short["input_ids"].shape[-1] == 5


def test_the_helper_for_tests_speaks_the_vocabulary(make_rollouts):
    rollouts = make_rollouts(reward=[[1.0, 0.0]], token=[[[7, 7], [8]]])
    assert rollouts["input_ids"].tolist() == [[[0, 0, 7, 7], [0, 0, 8, 0]]]
    assert rollouts["response_mask"].sum(-1).tolist() == [[2, 1]]
    for key in rollouts.keys():  # noqa: SIM118
        expected = KEYS[key].dtype
        assert expected is None or str(rollouts[key].dtype) == f"torch.{expected}", key


def test_rows_lie_group_after_group_and_know_their_group(make_rollouts):
    flat = rows(make_rollouts(reward=[[1, 2, 3], [4, 5, 6]], response_length=[[1, 2, 1], [3, 1, 1]]))
    assert flat.batch_size == torch.Size([6])
    assert flat["reward"].tolist() == [1, 2, 3, 4, 5, 6]
    assert flat["group_index"].tolist() == [0, 0, 0, 1, 1, 1]
    assert flat["input_ids"].shape == (6, 5)  # prompts of 2 tokens, the longest response has 3
    assert {"response_text", "answer"}.isdisjoint(flat.keys())
    assert [batch["group_index"].unique().tolist() for batch in flat.split(3)] == [[0], [1]]
