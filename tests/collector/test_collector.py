"""The collector, on an engine that answers from a table: which groups are kept, carried, dropped and counted."""

import random
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from rltoolkit import registry
from rltoolkit.collector import EveryPromptSolved, GenerationLimit
from rltoolkit.prompt_sampler import RetireSolved, Thompson
from rltoolkit.reward_function import ExactMatch
from rltoolkit.reward_shaper import SoftOverlongPunishment

from .table_engine import kept, make, make_ranks, outcome, plain, shuffled


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


class Unhurried(ExactMatch):
    def __call__(self, texts, answers):
        time.sleep(0.02)
        return super().__call__(texts, answers)


def test_verification_is_a_part_of_each_steps_seconds():
    collector = make([1] * 6)
    collector.reward_function = Unhurried()
    for step in (collector.collect(), collector.collect()):
        # two groups, one after the other
        assert 2 * 0.02 <= step.seconds_verification < step.seconds


# P = 2 at acceptance 1/2, half a standard deviation above the mean: (2 + 0.5 sqrt(2 * 0.5)) / 0.5 = 5 groups where 2 would do
EXPECTS_HALF = (4.0, 8.0)


def test_surplus_is_carried_with_its_version_and_comes_first_in_the_next_step():
    collector = make([1] * 6, kept_of_judged=EXPECTS_HALF)
    first = collector.collect()
    assert (kept(first), first.counters.generated_groups, first.counters.carried_out) == ([0, 1], 5, 3)
    collector.engine.version = 1
    second = collector.collect()
    assert (kept(second), second.counters.carried_in, second.counters.generated_groups) == ([2, 3], 3, 0)
    assert second.rollouts["policy_version"][:, 0].tolist() == [0, 0]
    assert second.counters.carried_out == 1


def test_a_groups_age_counts_rollout_steps_whatever_the_engine_calls_its_versions():
    # a loop of one's own may count optimizer steps: version 40 in the second rollout step
    collector = make([1] * 12, kept_of_judged=EXPECTS_HALF, max_carried_age=0)
    collector.engine.version = 7
    collector.collect()
    collector.engine.version = 40
    assert collector.collect().counters.dropped_groups == 3


def test_carried_groups_are_marked():
    collector = make([1] * 6, prompts=4, kept_of_judged=(8.0, 8.0))  # acceptance 1: 4 groups, none to spare
    first = collector.collect()
    assert not first.rollouts["carried"].any()
    generous = make([1] * 6, kept_of_judged=EXPECTS_HALF)
    generous.collect()
    spare = generous.state_dict()["carried"][0]  # of rollout step 0
    collector.load_state_dict({**collector.state_dict(), "carried": [spare]})
    # one group of an earlier step and three new ones, two responses each
    assert collector.collect().rollouts["carried"].tolist() == [[True, True]] + [[False, False]] * 3


def test_carried_groups_past_their_age_are_dropped_and_counted():
    collector = make([1] * 12, kept_of_judged=EXPECTS_HALF, max_carried_age=0)
    collector.collect()
    collector.engine.version = 1
    second = collector.collect()
    assert (second.counters.dropped_groups, second.counters.carried_in) == (3, 0)
    assert kept(second) == [5, 6]


def test_without_carrying_the_surplus_prompts_are_sampled_again():
    # no head start where surplus is lost: 2 / 0.5 = 4 groups, of which 2 and 3 still run when 0 and 1 are kept
    collector = make([1] * 6, kept_of_judged=EXPECTS_HALF, carry_surplus=False)
    first = collector.collect()
    assert collector.engine.log == [("submit", [0, 1, 2, 3]), ("finish", [0]), ("finish", [1]), ("drop", [2, 3]), ("sleep", [])]
    assert (first.counters.generated_groups, first.counters.dropped_groups) == (2, 2)
    collector.engine.version = 1
    second = collector.collect()
    assert (kept(second), second.rollouts["policy_version"][:, 0].tolist()) == ([2, 3], [1, 1])


def test_a_rejection_is_replaced_while_others_run():
    # 0 is rejected, 1 runs on: acceptance is now 2 of 3, and (2 - 0.5 sqrt(2 / 3)) / (2 / 3) = 2.4, so 1 + 2 groups
    collector = make([0, 1, 1])
    assert kept(collector.collect()) == [1, 2]
    expected = [("submit", [0, 1]), ("finish", [0]), ("submit", [2]), ("finish", [1]), ("finish", [2])]
    expected += [("drop", []), ("sleep", [])]  # the trainer may need the memory
    assert collector.engine.log == expected


MIXED = [0, 1, 2, 1, 0, 1, 1, 2, 0, 0, 2, 1, 2]


@pytest.mark.parametrize("carry", [True, False])
@pytest.mark.parametrize("order", range(5))
def test_the_order_in_which_groups_finish_changes_nothing(order, carry):
    in_turn, mixed_up = (make(MIXED, prompts=4, carry_surplus=carry) for _ in range(2))
    mixed_up.engine.pick = shuffled(random.Random(order))
    assert outcome(mixed_up) == outcome(in_turn)


@pytest.mark.parametrize("world", [2, 3])
def test_several_ranks_collect_the_same_as_one(world, monkeypatch):
    monkeypatch.setattr("rltoolkit.collector.collector.EXCHANGE_SECONDS", 0.0)  # verdicts are exchanged as often as can be
    alone = outcome(make(MIXED, prompts=4))
    ranks = make_ranks(MIXED, world, prompts=4)
    for rank in ranks:
        rank.engine.pick = shuffled(random.Random(rank.rank))
    with ThreadPoolExecutor(world) as pool:
        assert list(pool.map(outcome, ranks)) == [alone] * world
    shares = [{key for what, keys in rank.engine.log if what == "submit" for key in keys} for rank in ranks]
    assert [{position % world for position in share} for share in shares] == [{rank} for rank in range(world)]


LEARNING = [name for name in registry.names("prompt_sampler") if hasattr(registry.get("prompt_sampler", name), "observe")]


def learner(name):
    """As it is by default, but for a candidate at a time: what it has learned shows on thirteen problems, too."""
    fields = registry.get("prompt_sampler", name).__dataclass_fields__
    return registry.build("prompt_sampler", name, **({"prompts_per_step": 1} if "prompts_per_step" in fields else {}))


@pytest.mark.parametrize("carry", [True, False])
@pytest.mark.parametrize("name", LEARNING)
def test_a_sampler_learns_the_same_in_any_order_on_any_number_of_ranks(name, carry, monkeypatch):
    monkeypatch.setattr("rltoolkit.collector.collector.EXCHANGE_SECONDS", 0.0)
    settings = {"prompts": 4, "carry_surplus": carry, "sampler": learner(name)}
    alone = outcome(make(MIXED, **settings), steps=8)
    assert len({problem for _, _, sampled, _ in alone[0] for problem, _ in sampled}) > 4
    ranks = make_ranks(MIXED, 2, **settings)
    for rank in ranks:
        rank.engine.pick = shuffled(random.Random(rank.rank))
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(lambda rank: outcome(rank, steps=8), ranks)) == [alone] * 2


@pytest.mark.parametrize("name", LEARNING)
def test_what_a_sampler_has_learned_survives_a_restart_to_the_bit(name, tmp_path):
    collector, twin = (make(MIXED, prompts=4, sampler=learner(name)) for _ in range(2))
    for _ in range(3):
        collector.collect()
    torch.save(collector.state_dict(), tmp_path / "state.pt")
    collector.collect()  # a step that is lost with the process
    twin.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=False))
    again = make(MIXED, prompts=4, sampler=learner(name))
    assert outcome(again, steps=3)[2]["position"] == twin.state_dict()["position"]
    assert outcome(twin, steps=5) == outcome(again, steps=5)


def test_rejected_groups_are_what_a_sampler_learns_from():
    # problem 1 is all right: it is never trained on, and never asked again
    collector = make([1, 2, 1], prompts=2, sampler=RetireSolved())
    counters = [collector.collect().counters for _ in range(6)]
    assert sum(counter.rejected_all_correct for counter in counters) == 1
    assert sum(counter.kept_groups for counter in counters) == 12
    assert collector.metrics() == {"prompts_asked": 3, "prompts_retired": 1}


def test_a_task_smaller_than_a_step_is_asked_again_within_the_step():
    step = make([1, 1], prompts=5, sampler=RetireSolved()).collect()
    assert sorted(kept(step)) in ([0, 0, 0, 1, 1], [0, 0, 1, 1, 1])


def test_when_every_prompt_is_solved_the_collector_says_so_at_once():
    collector = make([2, 2], prompts=2, sampler=RetireSolved(), at_limit="fill_with_rejected")
    collector.collect()
    before = plain(collector.state_dict())
    collector.engine.log.clear()
    for _ in range(2):  # as often as it is asked
        with pytest.raises(EveryPromptSolved, match="prompt_sampler=retire_solved has none left of 2"):
            collector.sample()
    assert plain(collector.state_dict()) == before
    assert not collector.engine.log


def test_an_interruption_changes_nothing():
    collector, twin = (make(MIXED, prompts=4, sampler=Thompson()) for _ in range(2))
    collector.collect(), twin.collect()
    finishing = collector.engine.pick
    calls = iter(range(3))

    def interrupted(running):
        if next(calls, None) is None:
            raise KeyboardInterrupt
        return running[-1:]

    collector.engine.pick = interrupted
    with pytest.raises(KeyboardInterrupt):
        collector.collect()
    collector.engine.pick = finishing
    assert outcome(collector) == outcome(twin)


def test_a_step_that_was_sampled_and_not_accepted_is_sampled_again():
    # a signal can come at any point between the two, also when all groups are there
    collector = make(MIXED, prompts=4)
    before = plain(collector.state_dict())
    first = collector.sample()
    assert plain(collector.state_dict()) == before
    again = collector.sample()
    assert (kept(again), again.rollouts["input_ids"].tolist()) == (kept(first), first.rollouts["input_ids"].tolist())
    collector.accept(again)
    assert plain(collector.state_dict()) != before


def test_a_group_holds_its_own_memory_alone():
    # all five finish in one batch; as a view of it a carried group would keep, and send to other ranks, all five
    collector = make([1] * 5, kept_of_judged=EXPECTS_HALF)
    collector.engine.pick = lambda running: running
    collector.collect()
    for group in collector.state_dict()["carried"]:
        tokens = group["rollouts"]["input_ids"]
        assert tokens.untyped_storage().nbytes() == tokens.nbytes == 2 * 3 * 8  # 2 responses x 3 tokens x int64


def test_the_limit_raises_when_asked_or_when_nothing_was_kept():
    # at most 1 x 2 groups: problems 0 (all wrong) and 1 (mixed)
    with pytest.raises(GenerationLimit, match=r"kept 1 of prompts_per_step=2 groups after generating 2 .*1 all-wrong"):
        make([0, 1], at_limit="raise", max_generation_batches=1).collect()
    with pytest.raises(GenerationLimit, match=r"kept 0 of .* or set collector\.at_limit=fill_with_rejected"):
        make([0, 2], max_generation_batches=2).collect()  # train_partial is in force, so it is no advice


def test_the_limit_trains_on_what_there_is_or_fills_up():
    partial = make([0, 1], max_generation_batches=1).collect()
    assert kept(partial) == [1]
    assert [group.fate for group in partial.rejected] == ["all_wrong"]
    filled = make([0, 1], max_generation_batches=1, at_limit="fill_with_rejected").collect()
    assert (kept(filled), filled.counters.filled_groups) == ([1, 0], 1)
    assert not filled.rejected  # it is trained on
    assert filled.rollouts["advantage"][1].tolist() == [0.0, 0.0]  # equal rewards: nothing to learn


def test_a_step_keeps_the_first_of_what_was_thrown_away():
    # problem 0 is all wrong, 1 all right, 2 and 3 are mixed
    step = make([0, 2, 1, 1]).collect()
    assert kept(step) == [2, 3]
    assert [(group.position, group.fate) for group in step.rejected[:2]] == [(0, "all_wrong"), (1, "all_correct")]
    assert step.rejected[0].rollouts["input_ids"].shape == (2, 3)


def test_the_parts_of_the_reward_add_up_to_it():
    collector = make([1], prompts=1)
    collector.reward_shapers = [SoftOverlongPunishment(max_length=3, cache_length=2, factor=0.5)]
    rollouts = collector.collect().rollouts
    parts = rollouts["reward_parts"]
    assert list(parts.keys()) == ["exact_match", "soft_overlong_punishment"]
    # 2 tokens, one of them in the last stretch: 0.5 * ((3 - 2) - 2) / 2 = -0.25
    assert parts["soft_overlong_punishment"].tolist() == [[-0.25, -0.25]]
    assert torch.equal(parts["exact_match"] + parts["soft_overlong_punishment"], rollouts["reward"])


def test_state_survives_a_restart():
    collector, twin = make(MIXED, prompts=3), make(MIXED, prompts=3)
    collector.collect()
    twin.load_state_dict(collector.state_dict())
    assert outcome(twin) == outcome(collector)
