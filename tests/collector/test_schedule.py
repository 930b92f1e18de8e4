"""The schedule of one rollout step: how many groups it submits, and that only the verdicts decide."""

import math

from hypothesis import given
from hypothesis import strategies as st

from rltoolkit.collector.refill import Refill
from rltoolkit.collector.schedule import CAUTION, Schedule


def make(needed, *, kept_of_judged, limit=10_000, head_start=0.0, lowest_rate=0.1):
    accepted, judged = kept_of_judged
    return Schedule(needed=needed, limit=limit, accepted=accepted, judged=judged, head_start=head_start, lowest_rate=lowest_rate)


def test_starts_with_what_is_needed_over_the_acceptance_rate():
    # 8 / 0.5 = 16 on average, sqrt(8 * 0.5) / 0.5 = 4 standard deviation
    assert make(8, kept_of_judged=(50, 100)).start() == range(16)
    assert make(8, kept_of_judged=(50, 100), head_start=0.5).start() == range(18)


def test_there_is_no_head_start_where_surplus_is_lost():
    assert Refill(carry_surplus=False).head_start == 0 < Refill(carry_surplus=True).head_start


def test_a_rejection_submits_another_group_and_an_acceptance_none():
    schedule = make(4, kept_of_judged=(1e6, 1e6))  # so many that this step's verdicts hardly move the rate from 1
    assert schedule.start() == range(4)
    assert schedule.add([(0, True)]) == range(4, 4)
    assert schedule.add([(1, False)]) == range(4, 5)
    assert schedule.add([(2, True), (3, True)]) == range(5, 5)
    assert schedule.in_flight == 1
    assert schedule.add([(4, True)]) == range(5, 5)
    assert (schedule.in_flight, schedule.accepted, schedule.submitted) == (0, 4, 5)


def test_a_rejection_out_of_turn_counts_at_once_where_it_is_certain_to_matter():
    # 3 are needed of 4 submitted: 0 and 1 can give two of them at best, with 2 rejected the third must come from 3 or later
    schedule = make(3, kept_of_judged=(3e6, 4e6))
    assert schedule.start() == range(4)  # 3 / 0.75
    assert schedule.add([(3, False)]) == range(4, 4)  # 0, 1 and 2 may be all it takes
    assert schedule.add([(2, False)]) == range(4, 5)  # after 0, 1 and 2 one is lacking, 3 + 1; after 3 as well, 4 + 1


def test_this_step_s_verdicts_move_the_rate():
    # 8 of 8 before, 4 rejections make it 8 of 12: 4 + floor((8 - 0.5 sqrt(8 / 3)) / (2 / 3)) = 4 + floor(10.8)
    schedule = make(8, kept_of_judged=(8, 8))
    schedule.start()
    schedule.add([(group, False) for group in range(4)])
    assert schedule.submitted == 14


def test_nothing_is_submitted_when_nothing_is_needed():
    assert make(0, kept_of_judged=(1, 1)).start() == range(0)
    assert make(-3, kept_of_judged=(1, 1)).start() == range(0)


def test_the_limit_holds_and_a_rate_of_zero_is_survived():
    schedule = make(4, kept_of_judged=(0, 1), limit=30)
    schedule.start()
    while schedule.in_flight:
        schedule.add([(schedule.submitted - schedule.in_flight, False)])
    assert (schedule.submitted, schedule.accepted) == (30, 0)


def test_the_last_group_needed_is_known_once_all_before_it_are():
    schedule = make(2, kept_of_judged=(1, 2))
    assert schedule.start() == range(4)
    schedule.add([(3, True), (1, True)])
    assert (schedule.accepted, schedule.settled, schedule.complete) == (2, 0, False)
    schedule.add([(0, False)])
    assert (schedule.settled, schedule.complete) == (2, False)
    schedule.add([(2, True)])
    assert (schedule.settled, schedule.complete) == (3, True)  # 1 and 2; 3 is surplus


@given(
    verdicts=st.lists(st.booleans(), min_size=60, max_size=60),
    needed=st.integers(1, 12),
    prior=st.tuples(st.integers(0, 20), st.integers(1, 20)).map(sorted),
    order=st.randoms(use_true_random=False),
)
def test_what_is_submitted_does_not_depend_on_the_order_of_the_verdicts(verdicts, needed, prior, order):
    schedule = make(needed, kept_of_judged=prior, limit=60)
    running = list(schedule.start())
    while running:
        finished = [running.pop(order.randrange(len(running))) for _ in range(order.randint(1, min(3, len(running))))]
        running += schedule.add((group, verdicts[group]) for group in finished)
        if schedule.complete:
            assert sum(verdicts[: schedule.settled]) == needed
    assert schedule.submitted == submitted_in_turn(verdicts, needed, prior)
    assert schedule.complete or schedule.submitted == 60


def submitted_in_turn(verdicts, needed, prior):
    """The rule as it is written: verdicts one by one in stream order, until enough are kept."""
    most = accepted = 0
    for judged, kept in enumerate([*verdicts, False]):
        lacking = needed - accepted
        if lacking == 0:
            break
        rate = max((prior[0] + accepted) / (prior[1] + judged), 0.1)
        caution = CAUTION if judged else 0.0
        most = max(most, judged + max(lacking, math.floor((lacking - caution * math.sqrt(lacking * (1 - rate))) / rate)))
        accepted += kept
    return min(most, 60)
