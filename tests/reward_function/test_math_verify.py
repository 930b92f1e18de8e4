"""The real library in real processes; few checks a test, since every bomb costs a process."""

import json
import os
import signal
import threading
from pathlib import Path

import pytest

from rltoolkit.reward_function import MathVerify

MATH_500 = Path(os.environ.get("RLTOOLKIT_DATA", "")) / "math500_oai.jsonl"


@pytest.fixture(scope="module")
def verifier():
    return MathVerify(workers=1)


def test_equal_values_in_other_forms_are_correct(verifier):
    right = [
        (r"so \boxed{\frac{1}{2}}", "0.5"),
        (r"\boxed{2\sqrt2}", r"\sqrt{8}"),
        (r"The set is $\{3, 1, 2\}$.", r"\{1, 2, 3\}"),
        (r"\boxed{[0, 1)}", "[0,1)"),
        (r"\boxed{x^2+2x+1}", "(x+1)^2"),
        (r"\boxed{x = 3}", "3"),
        (r"\boxed{1{,}234}", "$1234$"),
        (r"\boxed{\$36}", r"\$36"),  # money: an escaped dollar marks no formula
        (r"\boxed{18.9}", r"\$18.90"),
        (r"It is $32348$.", r"\$32,\!348"),
    ]
    correct, reward = verifier([text for text, _ in right], [answer for _, answer in right])
    assert correct.tolist() == [True] * 10
    assert reward.tolist() == [1.0] * 10


def test_other_values_and_no_answer_are_wrong(verifier):
    texts = [r"\boxed{42}", r"\boxed{\frac{1}{3}}", "", "I do not know", r"\boxed{__import__('os').getpid()}", "\ud800"]
    correct, reward = verifier(texts, ["43", "1/2", "1", "2", "3", "4"])
    assert correct.tolist() == [False] * 6
    assert reward.tolist() == [-1.0] * 6


def test_a_bomb_costs_its_own_check_only_and_is_counted(verifier):
    before = verifier.failures
    tower = r"\boxed{9^{9^{9^{9}}}}"
    assert verifier([r"\boxed{1}", tower, r"\boxed{2}"], ["1", "5", "2"]).correct.tolist() == [True, False, True]
    assert verifier.failures == before + 1


def test_a_process_that_was_killed_is_replaced(verifier):
    assert verifier.extract(r"\boxed{7}") == "7"
    worker = verifier._pool._idle.queue[0]
    os.kill(worker._process.pid, signal.SIGKILL)
    worker._process.wait()
    before = verifier.failures
    assert verifier([r"\boxed{1}", r"\boxed{1}"], ["1", "1"]).correct.tolist() == [False, True]
    assert verifier.failures == before + 1


def test_the_limit_holds_off_the_main_thread(verifier):
    verdicts = []
    thread = threading.Thread(target=lambda: verdicts.extend(verifier([r"\boxed{9^{9^{9^{9}}}}"], ["5"]).correct.tolist()))
    thread.start()
    thread.join(timeout=120)
    assert verdicts == [False]


def test_long_texts_are_read_from_their_end(verifier):
    texts = [r"\boxed{3}" + " " * 2000, "((((" * 10**6 + r" \boxed{3}", "9" * 10**6]
    assert verifier(texts, ["3", "3", "3"]).correct.tolist() == [False, True, False]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (r"\boxed{0.5}", "1/2"),
        (r"\boxed{\frac{2}{4}}", "1/2"),
        (r"\boxed{x=3}", "3"),
        (r"\boxed{\begin{pmatrix} 0.5 \\ 2 \end{pmatrix}}", "Matrix([[1/2], [2]])"),
        (r"\boxed{\begin{pmatrix} 1/2 \\ 2 \end{pmatrix}}", "Matrix([[1/2], [2]])"),
        (r"\boxed{\text{yes}}", "yes"),
        ("nothing", None),
    ],
)
def test_equal_answers_are_equal_strings(verifier, text, found):
    before = verifier.failures
    assert verifier.extract(text) == found
    assert verifier.failures == before


@pytest.mark.skipif(not MATH_500.is_file(), reason="RLTOOLKIT_DATA is unset")
def test_every_answer_of_math_500_is_right_as_its_own_box():
    answers = [json.loads(line)["answer"] for line in MATH_500.read_text().splitlines()]
    verifier = MathVerify(workers=2, timeout=10.0)
    assert verifier([rf"So \boxed{{{answer}}}." for answer in answers], answers).correct.all()


@pytest.mark.parametrize("field", ["timeout", "window", "workers"])
def test_ranges(field):
    with pytest.raises(ValueError, match=rf"reward_function.{field}=0: .* \(reward_function=math_verify\)"):
        MathVerify(**{field: 0})
