"""Whatever a model writes, every rule returns a verdict; math_verify, which needs processes, has tests of its own."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rltoolkit import registry

NAMES = [name for name in registry.names("reward_function") if name != "math_verify"]
REFERENCES = {"countdown": '{"target": 24, "numbers": [1, 2, 3, 4]}'}
UNLIMITED = {"countdown": {"max_length": 10**8}, "integer_answer": {"window": 10**8}}

# Any text, and text made of the marks that verifiers look for.
MARKS = [
    r"\boxed{",
    r"\text{",
    "}",
    "{",
    "Answer:",
    "\n",
    "=",
    "<answer>",
    "</answer>",
    "<think>",
    "</think>",
    "$",
    ",",
    "-",
    "1",
]
TEXTS = st.text() | st.lists(st.sampled_from([*MARKS, "0", ".", " ", "**", "(", ")", "/", "^", "２", "²"])).map("".join)
BOMBS = {
    "digits": "9" * 10**6,
    "5000 digits": "9" * 5000,  # Python refuses to read an integer of more than 4,300
    "digits after =": "=" + "0" * 10**6 + "x",
    "boxed digits": r"\boxed{" + "9" * 10**6 + "}",
    "tower": r"\boxed{9" + "^9" * 10**5 + "}",
    "nesting": "(" * 10**5 + ")" * 10**5,
    "boxes": r"\boxed{" * 10**5,
    "answers": "Answer: " * 10**5,
    "tags": "<answer>" * 10**5 + "</answer>" * 10**5,
    "10 MB": "a = " * 2_500_000,
    "white space": " " * 10**6,
    "white space inside": "1" + " " * 10**6 + "1",
    "lone surrogate": "\ud800",
    "NUL": "\0",
}


@pytest.mark.parametrize("name", NAMES)
@given(text=TEXTS)
@settings(max_examples=200, deadline=None)
def test_any_text_gets_a_verdict(name, text):
    function = registry.build("reward_function", name)
    correct, reward = function([text], [REFERENCES.get(name, "42")])
    assert correct.shape == reward.shape == (1,)
    assert reward.isfinite().all()
    found = function.extract(text)
    assert found is None or isinstance(found, str)


@pytest.mark.parametrize("bomb", BOMBS)
@pytest.mark.parametrize("name", NAMES)
def test_bombs_are_wrong(name, bomb):
    for hyperparameters in ({}, UNLIMITED.get(name, {})):
        function = registry.build("reward_function", name, **hyperparameters)
        assert function([BOMBS[bomb]], [REFERENCES.get(name, "42")]).correct.tolist() == [False]
