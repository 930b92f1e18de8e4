"""The arithmetic problems and the ways of answering them."""

import random
from itertools import islice

import pytest

from rltoolkit.arithmetic import (
    ALPHABET,
    Expression,
    direct,
    draw_expressions,
    is_held_out,
    junk,
    rambling,
    scratchpad,
    style,
)

THREE_TERMS = Expression((3, 12, -7))  # 3 + 12 = 15, 15 - 7 = 8


def test_prompt_steps_and_answer() -> None:
    assert THREE_TERMS.prompt == "3+12-7="
    assert THREE_TERMS.steps == ["3+12=15", "15-7=8"]
    assert THREE_TERMS.answer == 8


def test_each_style_as_written() -> None:
    assert direct(THREE_TERMS) == "=8#"
    assert scratchpad(THREE_TERMS) == "3+12=15;15-7=8#"
    assert junk(THREE_TERMS, 20) == "~3+12-7=~3+12-7=~3+1"  # the unit has 8 characters: 8 + 8 + 4


def test_rambling_repeats_one_step_and_keeps_the_others() -> None:
    for seed in range(20):
        steps = rambling(THREE_TERMS, random.Random(seed), persistence=0.5).removesuffix("#").split(";")
        assert list(dict.fromkeys(steps)) == THREE_TERMS.steps
        assert len(steps) >= 3


def test_rambling_goes_on_as_often_as_persistence_says() -> None:
    """One repetition for sure, then a geometric number with mean c / (1 - c) = 3 for c = 0.75: 2 + 4 = 6 steps on average."""
    rng = random.Random(0)
    lengths = [rambling(THREE_TERMS, rng, persistence=0.75).count(";") + 1 for _ in range(4000)]
    # the geometric's standard deviation is sqrt(c) / (1 - c) = 3.5, so the mean's standard error is 3.5 / sqrt(4000) = 0.055
    assert sum(lengths) / len(lengths) == pytest.approx(6, abs=4 * 0.055)


@pytest.mark.parametrize("held_out", [True, False])
def test_drawn_expressions_stay_in_range_and_on_their_side(held_out: bool) -> None:
    for expression in islice(draw_expressions(random.Random(0), range(2, 7), held_out=held_out), 2000):
        assert is_held_out(expression.prompt) is held_out
        assert all(1 <= abs(term) <= 12 for term in expression.terms)
        totals = [sum(expression.terms[:count]) for count in range(1, len(expression.terms) + 1)]
        assert all(0 <= total < 50 for total in totals)


def test_operand_counts_come_in_turn() -> None:
    drawn = islice(draw_expressions(random.Random(0), range(2, 5), held_out=False), 7)
    assert [len(expression.terms) for expression in drawn] == [2, 3, 4, 2, 3, 4, 2]


def test_distinct_expressions_end_when_there_are_no_more() -> None:
    """With operands in 1..2 and two of them there are 1+1, 1+2, 2+1, 2+2, 1-1, 2-1, 2-2: seven prompts in all (1-2 is negative)."""
    sides = [
        list(draw_expressions(random.Random(0), [2], held_out=held_out, distinct=True, max_operand=2, limit=4 + 1))
        for held_out in (True, False)
    ]
    prompts = [expression.prompt for side in sides for expression in side]
    assert sorted(prompts) == ["1+1=", "1+2=", "1-1=", "2+1=", "2+2=", "2-1=", "2-2="]


def test_every_style_is_written_in_the_alphabet() -> None:
    rng = random.Random(0)
    for expression in islice(draw_expressions(rng, range(2, 7), held_out=False), 200):
        written = expression.prompt + direct(expression) + rambling(expression, rng, 0.9) + junk(expression, 56)
        assert set(written) <= set(ALPHABET)


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        ("=8", "direct"),
        ("3+12=15;15-7=8", "sound"),
        ("3+12=15;15-", "sound"),  # cut off within a step
        ("3+12=1", "sound"),  # cut off within its result, 15
        ("3+12=15;3+12=15;15-7=8", "rambling"),
        ("3+12=14;14-7=7", "flawed"),  # 15
        ("3+12=15;14-7=7", "flawed"),  # 14 is not the total before
        ("3+12=1;1-7=-6", "flawed"),  # not cut off there: the text goes on
        ("3+12;15-7=8", "flawed"),
        ("~3+12-7=", "junk"),
        ("", "junk"),
        ("9" * 5000 + "+1=2", "flawed"),  # a model writes what it likes; Python refuses to convert so long a number
    ],
)
def test_the_style_is_told_from_the_text(response: str, expected: str) -> None:
    assert style(response) == expected
