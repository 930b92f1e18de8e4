"""The schedule of one rollout step: how many groups it submits, and that only the verdicts decide."""

import math

from hypothesis import given
from hypothesis import strategies as st

from rltoolkit.collector.refill import Refill
from rltoolkit.collector.schedule import CAUTION, Decision, Schedule

G, PILOT = 4, 2


def make(needed, *, kept_of_judged, limit=10_000, head_start=0.0, lowest_rate=0.1):
    """``limit`` in whole groups."""
    accepted, judged = kept_of_judged
    return Schedule(
        needed=needed, limit=limit * G, group_size=G, accepted=accepted, judged=judged, head_start=head_start,
        lowest_rate=lowest_rate,
    )  # fmt: skip


def whole(verdicts):
    """Decisions on groups of which all responses were sampled."""
    return [Decision(group, kept, G) for group, kept in verdicts]


def test_starts_with_what_is_needed_over_the_acceptance_rate():
    # 8 / 0.5 = 16 on average, sqrt(8 * 0.5) / 0.5 = 4 standard deviation
    assert make(8, kept_of_judged=(50, 100)).start() == range(16)
    assert make(8, kept_of_judged=(50, 100), head_start=0.5).start() == range(18)


def test_there_is_no_head_start_where_surplus_is_lost():
    assert Refill(carry_surplus=False).head_start == 0 < Refill(carry_surplus=True).head_start


def test_a_rejection_submits_another_group_and_an_acceptance_none():
    schedule = make(4, kept_of_judged=(1e6, 1e6))  # so many that this step's verdicts hardly move the rate from 1
    assert schedule.start() == range(4)
    assert schedule.add(whole([(0, True)])) == range(4, 4)
    assert schedule.add(whole([(1, False)])) == range(4, 5)
    assert schedule.add(whole([(2, True), (3, True)])) == range(5, 5)
    assert schedule.in_flight == 1
    assert schedule.add(whole([(4, True)])) == range(5, 5)
    assert (schedule.in_flight, schedule.accepted, schedule.submitted) == (0, 4, 5)


def test_a_rejection_out_of_turn_counts_at_once_where_it_is_certain_to_matter():
    # 3 are needed of 4 submitted: 0 and 1 can give two of them at best, with 2 rejected the third must come from 3 or later
    schedule = make(3, kept_of_judged=(3e6, 4e6))
    assert schedule.start() == range(4)  # 3 / 0.75
    assert schedule.add(whole([(3, False)])) == range(4, 4)  # 0, 1 and 2 may be all it takes
    assert schedule.add(whole([(2, False)])) == range(4, 5)  # after 0, 1 and 2 one is lacking, 3 + 1; after 3 as well, 4 + 1


def test_this_step_s_verdicts_move_the_rate():
    # 8 of 8 before, 4 rejections make it 8 of 12: 4 + floor((8 - 0.5 sqrt(8 / 3)) / (2 / 3)) = 4 + floor(10.8)
    schedule = make(8, kept_of_judged=(8, 8))
    schedule.start()
    schedule.add(whole([(group, False) for group in range(4)]))
    assert schedule.submitted == 14


def test_nothing_is_submitted_when_nothing_is_needed():
    assert make(0, kept_of_judged=(1, 1)).start() == range(0)
    assert make(-3, kept_of_judged=(1, 1)).start() == range(0)


def test_the_limit_holds_and_a_rate_of_zero_is_survived():
    schedule = make(4, kept_of_judged=(0, 1), limit=30)
    schedule.start()
    while schedule.in_flight:
        schedule.add(whole([(schedule.submitted - schedule.in_flight, False)]))
    assert (schedule.submitted, schedule.accepted) == (30, 0)


def test_the_last_group_needed_is_known_once_all_before_it_are():
    schedule = make(2, kept_of_judged=(1, 2))
    assert schedule.start() == range(4)
    schedule.add(whole([(3, True), (1, True)]))
    assert (schedule.accepted, schedule.settled, schedule.complete) == (2, 0, False)
    schedule.add(whole([(0, False)]))
    assert (schedule.settled, schedule.complete) == (2, False)
    schedule.add(whole([(2, True)]))
    assert (schedule.settled, schedule.complete) == (3, True)  # 1 and 2; 3 is surplus


def test_a_rejected_pilot_gives_back_what_it_did_not_cost():
    # 3 groups of 4 = 12 responses. Two rejected pilots cost 2 each: 8 are left for the third group, 4, and one more
    schedule = make(3, kept_of_judged=(3, 3), limit=3)
    assert schedule.start() == range(3)
    assert schedule.add([Decision(0, False, PILOT)]) == range(3, 3)  # 2 responses are left
    assert schedule.add([Decision(1, False, PILOT)]) == range(3, 4)
    # the two are over: 2 more would not do for a group, which may turn out to need all of its 4
    assert schedule.add([Decision(2, True, G), Decision(3, False, PILOT)]) == range(4, 4)
    assert schedule.in_flight == 0


def test_what_the_limit_held_back_is_submitted_when_there_is_room():
    # 1 is wanted for each of 0 and 1, when both are rejected and settled; 2 gives the room for the second only later
    schedule = make(3, kept_of_judged=(3e6, 3e6), limit=3)
    schedule.start()
    assert schedule.add([Decision(0, False, PILOT), Decision(1, False, PILOT)]) == range(3, 4)
    assert schedule.add([Decision(3, False, PILOT)]) == range(4, 4)
    assert schedule.settled == 2
    assert schedule.add([Decision(2, False, PILOT)]) == range(4, 5)


@given(
    fates=st.lists(st.sampled_from([(True, G), (False, G), (False, PILOT)]), min_size=60, max_size=60),
    needed=st.integers(1, 12),
    limit=st.sampled_from([8, 30]),
    prior=st.tuples(st.integers(0, 20), st.integers(1, 20)).map(sorted),
    order=st.randoms(use_true_random=False),
)
def test_what_is_submitted_does_not_depend_on_the_order_of_the_verdicts(fates, needed, limit, prior, order):
    schedule = make(needed, kept_of_judged=prior, limit=limit)
    running = list(schedule.start())
    while running:
        finished = [running.pop(order.randrange(len(running))) for _ in range(order.randint(1, min(3, len(running))))]
        running += schedule.add(Decision(group, *fates[group]) for group in finished)
        if schedule.complete:
            assert sum(kept for kept, _ in fates[: schedule.settled]) == needed
    assert schedule.submitted == submitted_in_turn(fates, needed, prior, limit)
    spent = sum(responses for _, responses in fates[: schedule.submitted])
    assert spent <= limit * G
    assert schedule.complete or spent > (limit - 1) * G  # there is no room for a group


def submitted_in_turn(fates, needed, prior, limit):
    """The rule as it is written: verdicts one by one in stream order, until enough are kept; then as many as the limit allows."""
    most = accepted = 0
    for judged, (kept, _) in enumerate([*fates, (False, G)]):
        lacking = needed - accepted
        if lacking == 0:
            break
        rate = max((prior[0] + accepted) / (prior[1] + judged), 0.1)
        caution = CAUTION if judged else 0.0
        most = max(most, judged + max(lacking, math.floor((lacking - caution * math.sqrt(lacking * (1 - rate))) / rate)))
        accepted += kept
    submitted, allowed = -1, 0
    while submitted < allowed:
        submitted = allowed
        saved = sum(G - responses for _, responses in fates[:submitted])
        allowed = min(most, limit + saved // G)
    return submitted
