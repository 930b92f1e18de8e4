import json
import re
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rltoolkit.reward_function import Countdown
from rltoolkit.reward_function.countdown import value


def puzzle(target, *numbers):
    return json.dumps({"target": target, "numbers": numbers})


@pytest.mark.parametrize(
    ("text", "target", "numbers", "verdict"),
    [
        ("1*2*3*4", 24, (1, 2, 3, 4), True),
        ("<answer>(1 + 2 + 3) * 4</answer>", 24, (1, 2, 3, 4), True),
        ("I try 1+2.\n<answer>(1+2+3)*4 = 24</answer> done", 24, (1, 2, 3, 4), True),
        ("Think.\nAnswer: (1+2+3)*4", 24, (1, 2, 3, 4), True),
        ("**Answer:** $(1+2+3)*4$.", 24, (1, 2, 3, 4), True),
        ("<answer>1+1</answer> <answer>(1+2+3)×4</answer>", 24, (1, 2, 3, 4), True),
        ("8/(3-8/3)", 24, (3, 3, 8, 8), True),  # 8 / (1/3): exact fractions, not floats
        ("10-3-2", 5, (2, 3, 10), True),  # left to right: (10 - 3) - 2
        ("12/3/2", 2, (2, 3, 12), True),  # (12 / 3) / 2
        ("2+3*4", 14, (2, 3, 4), True),  # * before +
        ("7", 7, (7,), True),
        ("1*2*3*4", 25, (1, 2, 3, 4), False),  # another value
        ("4*6", 24, (1, 2, 3, 4), False),  # other numbers
        ("2*3*4", 24, (1, 2, 3, 4), False),  # 1 is not used
        ("1*2*3*4*1", 24, (1, 2, 3, 4), False),  # 1 is used twice
        ("12+3", 15, (1, 2, 3), False),  # digits glued together
        ("1 2+3", 15, (12, 3), False),  # a number with a space in it
        ("24", 24, (1, 2, 3, 4), False),
        ("1+2", 3, (1, 2, 3), False),
        ("3**2", 9, (2, 3), False),
        ("3//2", 1, (2, 3), False),
        ("-1+2", 1, (1, 2), False),  # no sign before a number
        ("1.0+2", 3, (1, 2), False),
        ("1/0", 1, (0, 1), False),
        ("(1+2", 3, (1, 2), False),
        ("1+2)", 3, (1, 2), False),
        ("()1+2", 3, (1, 2), False),
        ("1(+)2", 3, (1, 2), False),
        ("(1)(2)", 2, (1, 2), False),
        ("1+", 1, (1,), False),
        ("__import__('os')", 1, (1,), False),
        ("", 0, (), False),
        ("9" * 10**6, 1, (1,), False),
        ("9" * 20 + "+1", 10**20, (1, 10**20 - 1), True),
        ("9" * 21 + "+1", 10**21, (1, 10**21 - 1), False),  # more digits than a number may have
        ("(" * 10**5 + "1" + ")" * 10**5, 1, (1,), False),
        ("1" + "+1" * 5000, 5001, (1,) * 5001, False),  # longer than an expression may be
    ],
)
def test_verdict(text, target, numbers, verdict):
    correct, reward = Countdown()([text], [puzzle(target, *numbers)])
    assert correct.tolist() == [verdict]
    assert reward.tolist() == [1.0 if verdict else -1.0]


def test_extract_is_the_expression_without_spaces():
    assert Countdown().extract("<answer> 1 + 2 = 3</answer>") == "1+2"
    assert Countdown(max_length=3).extract("1+22") is None
    with pytest.raises(ValueError, match=r"reward_function.max_length=0: .* \(reward_function=countdown\)"):
        Countdown(max_length=0)


EXPRESSIONS = st.recursive(
    st.integers(0, 99).map(str),
    lambda inner: st.tuples(inner, st.sampled_from("+-*/"), inner).map(lambda parts: f"({''.join(parts)})"),
    max_leaves=8,
)


@given(EXPRESSIONS)
def test_value_agrees_with_python_on_fractions(expression):
    tokens = re.findall(r"[0-9]+|[-+*/()]", expression)
    python = " ".join(f"Fraction({token})" if token.isdigit() else token for token in tokens)
    try:
        expected = eval(python, {"Fraction": Fraction})  # the expression was generated here
    except ZeroDivisionError:
        expected = None
    assert value(tokens) == expected
