"""Pilots: hopeless groups are not finished, finished ones are what they would have been, and the law of what is kept holds."""

import random
from concurrent.futures import ThreadPoolExecutor
from itertools import product

import pytest
import torch

from rltoolkit.collector import GenerationLimit
from rltoolkit.prompt_sampler import RetireSolved, Thompson
from rltoolkit.reward_shaper import SoftOverlongPunishment
from rltoolkit.sampler_filter import AccuracyRange

from .table_engine import kept, make, make_ranks, outcome, shuffled

# verdicts on the four responses to each prompt; the first two are the pilot
TABLE = ["nnnn", "ynnn", "yyyy", "nyny", "nnyn", "yynn", "nyyy", "yyyn", "nnnn", "nynn", "yyyy", "ynyy", "nnyy"]


def pilots(right, **settings):
    return make(right, group=4, pilot_size=2, **settings)


def test_a_uniform_pilot_is_given_up_and_a_mixed_one_finished():
    # the pilots of 0 and 2 are uniform, although a whole group 0 would be mixed; 1 and 3 are the first two that are kept
    step = pilots(["nnyy", "ynnn", "yyyy", "nyyy", "ynnn"], carry_surplus=False).collect()
    assert kept(step) == [1, 3]
    assert step.rollouts["correct"].tolist() == [[True, False, False, False], [False, True, True, True]]
    counters = step.counters
    assert (counters.rejected_all_wrong, counters.rejected_all_correct, counters.rejected_other) == (1, 1, 0)
    # 2 + 4 + 2 + 4 responses of 2 tokens; trained are 4 + 4
    assert (counters.generated_groups, counters.generated_responses, counters.generated_tokens) == (4, 12, 24)
    assert (counters.kept_groups, counters.trained_responses, counters.trained_tokens) == (2, 8, 16)
    assert counters.metrics()["generated_per_trained_group"] == 12 / 8
    assert counters.acceptance_rate == 2 / 4


def test_what_is_thrown_away_is_shown_with_the_responses_it_has():
    step = pilots(["nnyy", "ynnn", "yyyy", "nyyy", "ynnn"]).collect()
    shown = [(group.position, group.fate, len(group.rollouts)) for group in step.rejected]
    assert shown == [(0, "all_wrong", 2), (2, "all_correct", 2)]


def test_the_policy_is_measured_on_pilots_alone():
    # nn, yn, yy and ny: 4 of 8 right. All responses sampled would say 1 + 2 + 3 = 6 of 12 here, and 4 of 10 with "ynnn" for 3
    for last in ("nyyy", "nynn"):
        step = pilots(["nnyy", "ynnn", "yyyy", last], carry_surplus=False).collect()
        assert step.sampled["correct"].double().mean() == 4 / 8


def test_a_finished_group_is_to_the_bit_what_it_is_without_pilots():
    with_pilots, without = pilots(TABLE, prompts=6), make(TABLE, group=4, prompts=10)
    for collector in (with_pilots, without):
        collector.reward_shapers = [SoftOverlongPunishment(max_length=3, cache_length=2, factor=0.5)]
    finished, whole = with_pilots.collect().rollouts, without.collect().rollouts
    assert finished["prompt_index"][:, 0].tolist() == [1, 3, 6, 9, 11, 1]
    assert whole["prompt_index"][:, 0].tolist() == [1, 3, 4, 5, 6, 7, 9, 11, 12, 1]
    for group, place in zip(finished.unbind(0), (0, 1, 4, 6, 7, 9), strict=True):
        for name in ("input_ids", "correct", "reward", "loss_mask", "rollout_log_probs", "response_length", "advantage"):
            assert torch.equal(group[name], whole[place][name])
        # shaped once: 2 tokens, 0.5 * ((3 - 2) - 2) / 2
        assert group["reward_parts", "soft_overlong_punishment"].tolist() == [-0.25] * 4


@pytest.mark.parametrize("carry", [True, False])
def test_order_and_ranks_change_nothing(carry, monkeypatch):
    monkeypatch.setattr("rltoolkit.collector.collector.EXCHANGE_SECONDS", 0.0)
    settings = {"prompts": 3, "carry_surplus": carry, "sampler": Thompson(prompts_per_step=1)}
    alone = outcome(pilots(TABLE, **settings))
    mixed_up = pilots(TABLE, **settings)
    mixed_up.engine.pick = shuffled(random.Random(0))
    assert outcome(mixed_up) == alone
    ranks = make_ranks(TABLE, 2, group=4, pilot_size=2, **settings)
    for rank in ranks:
        rank.engine.pick = shuffled(random.Random(rank.rank))
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(outcome, ranks)) == [alone] * 2


def test_a_restart_changes_nothing(tmp_path):
    collector, twin = (pilots(TABLE, prompts=3, sampler=Thompson(prompts_per_step=1)) for _ in range(2))
    for _ in range(2):
        collector.collect()
    torch.save(collector.state_dict(), tmp_path / "state.pt")
    twin.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=False))
    assert outcome(twin) == outcome(collector)


def test_the_limit_counts_responses():
    # 1 x 2 groups of 4 = 8 responses. Two pilots cost 4 and leave 4, enough for a third group; its pilot leaves 2, too few for a fourth
    with pytest.raises(
        GenerationLimit, match=r"kept 0 of prompts_per_step=2 groups after generating 3 .* harder, or raise the limit"
    ):
        pilots(["nnnn"], max_generation_batches=1).collect()
    # whole groups cost 8 at once
    with pytest.raises(GenerationLimit, match="kept 0 of prompts_per_step=2 groups after generating 2 "):
        make(["nnnn"], group=4, max_generation_batches=1).collect()


def test_a_group_whose_pilot_passed_may_still_be_rejected_as_a_whole():
    # accuracy 1/2 and then 3/4, with 0.7 for too easy
    collector = pilots(["ynyy", "ynnn"], prompts=1, carry_surplus=False)
    collector.sampler_filters = [AccuracyRange(low=0.0, high=0.7)]
    step = collector.collect()
    assert kept(step) == [1]
    assert (step.counters.rejected_other, step.counters.generated_responses) == (1, 8)


def test_a_sampler_learns_from_as_many_responses_as_there_are():
    observed = set()

    class Recorded(RetireSolved):
        def observe(self, state, problem_index, correct, group_size):
            observed.update(zip(problem_index.tolist(), correct.tolist(), group_size.tolist(), strict=True))
            return super().observe(state, problem_index, correct, group_size)

    pilots(["yyyy", "ynnn"], sampler=Recorded()).collect()
    assert observed == {(0, 2, 2), (1, 1, 4)}


def test_the_law_of_what_is_kept():
    # Accuracy p = 1/3. Each of the 3^4 = 81 outcomes of four responses is as likely as any other, so each comes once; the last is kept.
    table = sorted(("".join(verdicts) for verdicts in product("ynn", repeat=4)), key=lambda each: each[0] != each[1])
    settings = {"group": 4, "carry_surplus": False}
    # P(kept) = 1 - (1/3)^2 - (2/3)^2 = 4/9 with pilots of 2, and 1 - (1/3)^4 - (2/3)^4 = 64/81 without
    with_pilots = make(table, prompts=36, pilot_size=2, **settings).collect().counters
    whole = make(table, prompts=64, **settings).collect().counters
    assert with_pilots.generated_groups == whole.generated_groups == 81
    # responses for each kept group: G - m + m / P(kept) = 2 + 2 / (4/9) = 6.5, and G / P(kept) = 4 / (64/81) = 5.0625
    assert with_pilots.generated_responses / 36 == 6.5
    assert whole.generated_responses / 64 == 5.0625


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pilot_size": 1}, r"collector\.pilot_size=1: must be 0 or at least 2"),
        ({"pilot_size": 3}, r"collector\.pilot_size=3: must be a proper divisor of group_size=4 \(2\), or 0"),
        ({"pilot_size": 4}, r"collector\.pilot_size=4: must be a proper divisor of group_size=4"),
        ({"pilot_size": 2, "at_limit": "fill_with_rejected"}, r"pilot_size=2: must be 0 with collector\.at_limit=fill_with"),
    ],
)
def test_a_pilot_that_cannot_be_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        make(TABLE, group=4, **settings)
