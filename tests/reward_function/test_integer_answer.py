"""Graded by hand: a line of the table is [text, reference, verdict]; in a text given as parts, [unit, n] means unit * n."""

import json
from pathlib import Path

import pytest

from rltoolkit.reward_function import IntegerAnswer

TABLE = Path(__file__).with_name("integer_answer_cases.jsonl")
CASES = [json.loads(line) for line in TABLE.read_text(encoding="utf-8").splitlines()]


def spell(text):
    return text if isinstance(text, str) else "".join(part if isinstance(part, str) else part[0] * part[1] for part in text)


@pytest.mark.parametrize(("text", "reference", "verdict"), CASES)
def test_graded_case(text, reference, verdict):
    correct, reward = IntegerAnswer()([spell(text)], [reference])
    assert correct.tolist() == [verdict]
    assert reward.tolist() == [1.0 if verdict else -1.0]


def test_the_table_has_both_verdicts_in_plenty():
    verdicts = [verdict for _, _, verdict in CASES]
    assert verdicts.count(True) >= 100
    assert verdicts.count(False) >= 100


@pytest.mark.parametrize(
    ("text", "found"),
    [(r"\boxed{042}", "42"), ("Answer: −1{,}234.", "-1234"), ("Answer: -0.0", "0"), ("Answer: 1/2", None), ("42", None)],
)
def test_equal_answers_are_equal_strings(text, found):
    assert IntegerAnswer().extract(text) == found


def test_window_is_a_field():
    # "Answer: 42" is 10 characters long: a window of 9 cuts off the A
    assert IntegerAnswer(window=10).extract("Answer: 42") == "42"
    assert IntegerAnswer(window=9).extract("Answer: 42") is None
    with pytest.raises(ValueError, match=r"reward_function.window=0: must be at least 1 \(reward_function=integer_answer\)"):
        IntegerAnswer(window=0)


@pytest.mark.parametrize(
    "text", ["Answer: " + "9" * 10**6, "Answer: " + "0" * 10**6 + "x", r"\boxed{" * 10**5, r"\boxed{" + "9^" * 10**5 + "9}"]
)
def test_bombs_are_wrong_answers_even_in_a_wide_window(text):
    assert IntegerAnswer(window=10**7)([text], ["42"]).correct.tolist() == [False]


def test_a_million_digits_are_still_compared():
    bomb = "9" * 10**6
    verdict = IntegerAnswer(window=10**7)([f"Answer: {bomb}", f"Answer: {bomb}1"], [bomb, bomb])
    assert verdict.correct.tolist() == [True, False]
