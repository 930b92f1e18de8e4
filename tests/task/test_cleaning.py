"""Integers in answers: which spellings count, and which digits give a float away."""

import pytest

from rltoolkit.task._cleaning import integer_flaw, normalize_integer


@pytest.mark.parametrize(
    ("answer", "integer"),
    [("34", "34"), (" 025 ", "25"), ("-7", "-7"), ("+7", "7"), ("1,080", "1080"), ("$18.", "18"), (r"10,\!080", "10080")],
)
def test_an_integer_is_normalised(answer, integer):
    assert normalize_integer(answer) == integer
    assert integer_flaw(integer) is None


@pytest.mark.parametrize("answer", ["", "1/2", "3,5", "1,0800", "1 2", "3.5", "x", "٣", "9" * 5000])
def test_anything_else_is_left_alone_and_called_no_integer(answer):
    assert normalize_integer(answer) == answer
    assert integer_flaw(answer) == "not an integer"


@pytest.mark.parametrize(
    ("answer", "flaw"),
    [
        (str(2**53), None),  # the last integer before float64 has gaps
        ("105263157894736842", None),  # = 2 mod 8; at 1.05e17 float64 holds multiples of 16 only
        ("105263157894736848", "float-rounded"),  # its nearest float64, written out: 842 -> 848
        ("22099999999999998951424", "float-rounded"),  # 221e20, written out from its float64
        ("20000000000000000000000", None),  # 2e22 = 5^22 2^23, and 5^22 < 2^53: a float64 holds it exactly
    ],
)
def test_an_integer_that_went_through_a_float_is_told_by_its_digits(answer, flaw):
    assert integer_flaw(answer) == flaw
