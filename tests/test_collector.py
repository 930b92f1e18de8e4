"""The collector, on an engine that answers from a table: which groups are kept, carried, dropped and counted."""

import pytest
import torch
from tensordict import TensorDict

from rltoolkit.advantage_estimator import GroupCentered
from rltoolkit.collector import AtLimit, Collector, EncodedProblem, GenerationLimit, Refill
from rltoolkit.prompt_sampler import Sequential
from rltoolkit.reward_function import ExactMatch
from rltoolkit.rollout_batch import text_entry
from rltoolkit.rollout_engine.base import Sampling
from rltoolkit.sampler_filter import DynamicSampling

SAMPLING = Sampling(max_new_tokens=4)


class TableEngine:
    """Answers prompt [p] with ``right[p]`` correct responses of two, whatever the seed; the version is set from outside."""

    def __init__(self, right):
        self.right, self.version, self.calls = right, 0, []

    def generate(self, prompts, group_size, sampling, seeds):
        self.calls.append([prompt[0] for prompt in prompts])
        shape = (len(prompts), group_size)
        mask = torch.zeros(*shape, 3, dtype=torch.bool)
        mask[..., 1:] = True
        texts = [["yes" if g < self.right[prompt[0]] else "no" for g in range(group_size)] for prompt in prompts]
        return TensorDict(
            {
                "input_ids": torch.tensor(
                    [[[prompt[0], seed % 97, g] for g in range(group_size)] for prompt, seed in zip(prompts, seeds, strict=True)]
                ),
                "response_mask": mask,
                "rollout_log_probs": torch.where(mask, -1.0, 0.0),
                "response_length": torch.full(shape, 2),
                "truncated": torch.zeros(shape, dtype=torch.bool),
                "policy_version": torch.full(shape, self.version),
                "response_text": text_entry(texts),
            },
            batch_size=shape,
        )


def make(right, *, prompts=2, world=1, rank=0, gather=lambda item: [item], **refill):
    return Collector(
        engine=TableEngine(right),
        problems=[EncodedProblem(tokens=[row], answer="yes", index=row) for row in range(len(right))],
        prompt_sampler=Sequential(),
        reward_function=ExactMatch(),
        reward_shapers=[],
        sampler_filters=[DynamicSampling()],
        advantage_estimator=GroupCentered(),
        prompts_per_step=prompts,
        group_size=2,
        sampling=SAMPLING,
        seed=3,
        refill=Refill(**refill),
        rank=rank,
        world_size=world,
        all_gather=gather,
    )


def kept(step):
    return step.rollouts["prompt_index"][:, 0].tolist()


def test_keeps_the_first_mixed_groups_in_stream_order_and_counts_the_rest():
    # right answers of two: 0 = all wrong, 2 = all correct, 1 = mixed. Problems 1 and 3 are the first two mixed ones.
    step = make([0, 1, 2, 1, 1]).collect()
    assert kept(step) == [1, 3]
    counters = step.counters
    assert (counters.rejected_all_wrong, counters.rejected_all_correct, counters.rejected_other) == (1, 1, 0)
    # rewards of a mixed group are +1 and -1, mean 0
    assert step.rollouts["advantage"].tolist() == [[1.0, -1.0], [1.0, -1.0]]
    # 2 groups x 2 responses x 2 tokens
    assert counters.trained_tokens == 8


def test_surplus_is_carried_with_its_version_and_comes_first_in_the_next_step():
    collector = make([1, 1, 1, 1, 1, 1], prompts=2)
    collector._state.acceptance_rate = 0.5  # expects to need more than it does: asks for 4 groups, keeps 2, carries 2
    first = collector.collect()
    assert (kept(first), first.counters.carried_out) == ([0, 1], 2)
    collector.engine.version = 1
    second = collector.collect()
    assert (kept(second), second.counters.carried_in, second.counters.generated_groups) == ([2, 3], 2, 0)
    assert second.rollouts["policy_version"][:, 0].tolist() == [0, 0]


def test_carried_groups_past_their_age_are_dropped_and_counted():
    collector = make([1] * 12, prompts=2, max_carried_age=0)
    collector._state.acceptance_rate = 0.5
    collector.collect()
    collector.engine.version = 1
    second = collector.collect()
    assert (second.counters.dropped_groups, second.counters.carried_in) == (2, 0)
    assert kept(second) == [4, 5]


def test_without_carrying_the_surplus_prompts_are_sampled_again():
    collector = make([1] * 6, prompts=2, carry_surplus=False)
    collector._state.acceptance_rate = 0.5
    assert collector.collect().counters.dropped_groups == 2
    collector.engine.version = 1
    second = collector.collect()
    assert (kept(second), second.rollouts["policy_version"][:, 0].tolist()) == ([2, 3], [1, 1])


def test_two_ranks_keep_the_same_groups_as_one():
    right = [0, 1, 2, 1, 0, 1, 1, 2]
    alone = make(right, prompts=3).collect()
    ranks = [make(right, prompts=3, world=2, rank=rank) for rank in range(2)]

    def gather(_):
        positions = gather.positions
        return [rank._generate_here(positions[rank.rank :: 2]) if positions[rank.rank :: 2] else [] for rank in ranks]

    lead = ranks[0]
    generate = lead._generate

    def remember(positions):
        gather.positions = list(positions)
        return generate(positions)

    lead.all_gather, lead._generate = gather, remember
    shared = lead.collect()
    assert kept(shared) == kept(alone)
    assert torch.equal(shared.rollouts["input_ids"], alone.rollouts["input_ids"])  # seeds depend on the position alone
    assert shared.counters == alone.counters


def test_the_limit_raises_when_asked_or_when_nothing_was_kept():
    # at most 1 x 2 groups: problems 0 (all wrong) and 1 (mixed)
    with pytest.raises(GenerationLimit, match=r"kept 1 of prompts_per_step=2 groups after generating 2 .*1 all-wrong"):
        make([0, 1], at_limit=AtLimit.RAISE, max_generation_batches=1).collect()
    with pytest.raises(GenerationLimit, match="kept 0 of"):
        make([0, 2], max_generation_batches=2).collect()


def test_the_limit_trains_on_what_there_is_or_fills_up():
    partial = make([0, 1], max_generation_batches=1).collect()
    assert kept(partial) == [1]
    filled = make([0, 1], max_generation_batches=1, at_limit=AtLimit.FILL_WITH_REJECTED).collect()
    assert (kept(filled), filled.counters.filled_groups) == ([1, 0], 1)
    assert filled.rollouts["advantage"][1].tolist() == [0.0, 0.0]  # equal rewards: nothing to learn


def test_state_survives_a_restart():
    collector = make([1] * 12, prompts=2)
    collector._state.acceptance_rate = 0.5
    collector.collect()
    twin = make([1] * 12, prompts=2)
    twin.load_state_dict(collector.state_dict())
    for each in (collector, twin):
        each.engine.version = 1
    for _ in range(3):
        one, other = collector.collect(), twin.collect()
        assert torch.equal(one.rollouts["input_ids"], other.rollouts["input_ids"])
        assert one.counters == other.counters


def test_seeds_differ_between_positions_and_runs_and_stay_below_63_bits():
    one, other = make([1]), make([1])
    other.seed = 4
    seeds = [one.seed_at(position) for position in range(2000)] + [other.seed_at(position) for position in range(2000)]
    assert len(set(seeds)) == 4000
    assert max(seeds) < 2**62
