"""Sampling masks, from the sets that an engine kept to those that the head asks for."""

import torch

from rltoolkit.rollout_batch import stack_groups, with_entries
from rltoolkit.sampling_mask import KeptSets, SamplingMask, from_responses


def ids(*values):
    return torch.tensor(values)


# one prompt of one token, two responses of two tokens and of one
SAMPLED = torch.tensor([[[False, True, True], [False, True, False]]])
KEPT = [[ids(5, 1), ids(2)], [ids(3, 4, 0)]]


def test_the_sets_of_a_row_lie_one_after_the_other():
    entries = from_responses(KEPT, SAMPLED)
    assert entries["kept_ids"].tolist() == [[[5, 1, 2], [3, 4, 0]]]
    assert entries["kept_counts"].tolist() == [[[0, 2, 1], [0, 3, 0]]]
    assert {entry.dtype for entry in entries.values()} == {torch.int32}


def test_the_sets_of_some_tokens_are_found_again():
    mask = SamplingMask(*(entry[0] for entry in from_responses(KEPT, SAMPLED).values()))
    everything = mask.of_tokens(SAMPLED[0])
    assert everything.ids.tolist() == [5, 1, 2, 3, 4, 0]
    assert everything.counts.tolist() == [2, 1, 3]
    # the second token of the first row alone, as if the others were out of the loss
    one = mask.of_tokens(torch.tensor([[False, False, True], [False, False, False]]))
    assert (one.ids.tolist(), one.counts.tolist()) == ([2], [1])
    none = mask.of_tokens(torch.zeros_like(SAMPLED[0]))
    assert (none.ids.tolist(), none.counts.tolist()) == ([], [])


def test_chunks_hold_whole_sets():
    chunks = KeptSets(ids(5, 1, 2, 3, 4, 0), ids(2, 1, 3)).split(2)
    assert [(chunk.ids.tolist(), chunk.counts.tolist()) for chunk in chunks] == [([5, 1, 2], [2, 1]), ([3, 4, 0], [3])]


def test_a_softmax_over_restricted_logits_is_the_one_over_the_set():
    # e^0 : e^ln3 = 1 : 3 in the set {0, 2}, whatever the other logits are
    logits = torch.tensor([[0.0, 50.0, 3.0, -2.0]])
    logits[0, 2] = torch.tensor(3.0).log()
    probabilities = KeptSets(ids(2, 0), ids(2)).restrict_(logits).softmax(-1)
    torch.testing.assert_close(probabilities, torch.tensor([[0.25, 0.0, 0.75, 0.0]]))


def test_groups_with_wider_and_narrower_sets_stack(make_rollouts):
    def group(kept):
        rollouts = make_rollouts(reward=[[1, 0]], response_length=[[2, 1]])
        return with_entries(rollouts, **from_responses(kept, rollouts["response_mask"]))[0]

    stacked = stack_groups([group(KEPT), group([[ids(7), ids(7)], [ids(1, 2, 3, 4, 5)]])])
    assert stacked["kept_ids"].tolist() == [[[5, 1, 2, 0, 0], [3, 4, 0, 0, 0]], [[7, 7, 0, 0, 0], [1, 2, 3, 4, 5]]]
    # two prompt tokens, then the response
    assert stacked["kept_counts"].tolist() == [[[0, 0, 2, 1], [0, 0, 3, 0]], [[0, 0, 1, 1], [0, 0, 5, 0]]]
