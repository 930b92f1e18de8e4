"""Rows compared: what is paired with what, and what is corrected together."""

import math

import pytest

from rltoolkit.report.ablation import grouped
from rltoolkit.report.comparison import compare
from rltoolkit.report.runs import find_runs


@pytest.fixture
def compared(write_run, tmp_path):
    """``compared(row=[final of seed 0, of seed 1, ...])`` -> label -> its numbers."""

    def make(**rows):
        for name, finals in rows.items():
            for seed, final in enumerate(finals):
                if final is not None:
                    write_run(f"{name}/{seed}", [0.1, final], ablation=name, seed=seed)
        found, shared = compare(grouped(find_runs(tmp_path)))
        return {row.name: row for row in found}, shared

    return make


def test_each_row_is_compared_with_the_row_before_and_with_naive_grpo(compared):
    rows, _ = compared(
        naive_grpo=[0.20, 0.30, 0.40],
        overlong_filtering=[0.25, 0.30, 0.47],
        clip_higher=[None, 0.50, 0.50],
        dynamic_sampling=[0.5, 0.6, 0.8],
        without_clip_higher=[0.4, 0.5, 0.6],
    )
    # Filtering: 0.05, 0 and 0.07 above naive GRPO. Clip-higher: 0.20 and 0.03 above filtering, on the two seeds it has.
    filtering, clip_higher = rows["overlong_filtering"], rows["clip_higher"]
    assert filtering.from_before.difference.mean == pytest.approx(0.04)
    assert filtering.from_before.difference == filtering.from_naive.difference
    assert filtering.from_naive.difference.above == 2
    assert (clip_higher.from_before.difference.pairs, clip_higher.from_before.difference.mean) == (2, pytest.approx(0.115))
    assert clip_higher.from_naive.difference.mean == pytest.approx((0.20 + 0.10) / 2)
    # The row before dynamic sampling has not run. Without clip-higher is compared with all of it: -0.1, -0.1, -0.2.
    assert rows["dynamic_sampling"].from_before is None
    assert rows["without_clip_higher"].from_before.difference.mean == pytest.approx(-0.4 / 3)
    assert rows["naive_grpo"].from_naive is None


def test_p_is_corrected_within_table_1_and_within_leave_one_out(compared):
    rows, _ = compared(
        naive_grpo=[0.20, 0.30, 0.40],
        overlong_filtering=[0.25, 0.30, 0.47],
        clip_higher=[0.30, 0.40, 0.50],
        without_clip_higher=[0.4, 0.5, 0.62],
        dynamic_sampling=[0.5, 0.6, 0.8],
    )
    raw = {name: row.from_naive.difference.p for name, row in rows.items() if row.from_naive}
    corrected = {name: row.from_naive.p for name, row in rows.items() if row.from_naive}
    # Clip-higher lies exactly 0.1 above naive GRPO on every seed: no spread, no p, and it counts for nobody.
    assert math.isnan(raw["clip_higher"])
    assert math.isnan(corrected["clip_higher"])
    # Of Table 1 two are left: the smaller p counts twice, the larger once. The row of the other block stands alone.
    assert raw["dynamic_sampling"] < raw["overlong_filtering"]
    assert corrected["dynamic_sampling"] == pytest.approx(2 * raw["dynamic_sampling"])
    assert corrected["overlong_filtering"] == raw["overlong_filtering"]
    assert corrected["without_clip_higher"] == raw["without_clip_higher"]


def test_steps_to_an_accuracy_that_not_all_seeds_reach(compared):
    rows, shared = compared(naive_grpo=[0.20, 0.30, 0.40], dynamic_sampling=[0.30, 0.50, 0.35])
    # 5 steps and 1,000 tokens a run. From 0.1: 0.2 of 0.3 after 2.5, 0.3 of 0.5 after 2.5, and 0.4 never.
    assert (shared.last_step, shared.budget) == (5, 1000)
    assert rows["dynamic_sampling"].steps_to_naive == pytest.approx((2.5, 2, 3))
    assert rows["dynamic_sampling"].tokens_to_naive == pytest.approx((500, 2, 3))
    assert rows["naive_grpo"].steps_to_naive == (5, 3, 3)
    rows, _ = compared(overlong_filtering=[0.10, 0.10, 0.50])
    assert rows["overlong_filtering"].steps_to_naive == (math.inf, 1, 3)


def test_equal_tokens_are_what_the_cheapest_run_has_spent(write_run, tmp_path):
    write_run("a", [0.1, 0.3], ablation="naive_grpo")
    write_run("b", [0.1, 0.2, 0.5], ablation="dynamic_sampling")  # 2,000 tokens
    write_run("c", [0.1], ablation="clip_higher", status="started")  # still going, and so no measure and not compared
    found, shared = compare(grouped(find_runs(tmp_path)))
    rows = {row.name: row for row in found}
    assert shared.budget == 1000
    assert rows["dynamic_sampling"].at_budget.mean == pytest.approx(0.2)
    # from 0.1 to 0.2 within the budget
    assert rows["dynamic_sampling"].area_by_tokens.mean == pytest.approx(0.15)
    assert math.isnan(rows["clip_higher"].at_budget.mean)
    assert rows["clip_higher"].accuracy.mean == 0.1
    assert rows["clip_higher"].from_naive is None
