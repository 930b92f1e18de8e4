import pytest

from rltoolkit.reward_function import EquationAnswer


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("76", "76"),  # straight after the prompt "37+48-9="
        ("37+48=85;85-9=76", "76"),
        ("37+48=85;85-9= 76 ", "76"),
        ("1-5=-4", "-4"),
        ("=+07", "7"),
        ("=-0", "0"),
        ("37+48=85;85-9=76.", None),  # everything after the "=" must be the integer
        ("37+48=85;85-9=76#", None),
        ("37+48=85;85-9=", None),
        ("37+48", None),
        ("7 6", None),
        ("=7.0", None),
        ("=７６", None),
        ("=--7", None),
        ("", None),
        ("~37+48~37+48", None),
    ],
)
def test_the_integer_after_the_last_equals_sign(text, found):
    assert EquationAnswer().extract(text) == found


def test_verdict_and_reward():
    # right; right though written otherwise; wrong number; nothing found; a reference that is no integer
    texts, answers = ["85-9=76", "076", "85-9=75", "oh", "x"], ["76", " 76", "76", "76", "x"]
    correct, reward = EquationAnswer()(texts, answers)
    assert correct.tolist() == [True, True, False, False, False]
    assert reward.tolist() == [1, 1, -1, -1, -1]


def test_one_reference_for_each_response():
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        EquationAnswer()(["1", "2"], ["1"])
