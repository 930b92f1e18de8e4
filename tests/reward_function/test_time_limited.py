"""A reward function that sleeps, computes without end or crashes, in real processes."""

import textwrap

import pytest

from rltoolkit.reward_function import ExactMatch, MathVerify, TimeLimited


@pytest.fixture(scope="module")
def moody(tmp_path_factory):
    """Does what the response says, and finds every other response right, worth its length in characters."""
    folder = tmp_path_factory.mktemp("moody")
    (folder / "moody.py").write_text(
        textwrap.dedent("""
            import os, time
            from dataclasses import dataclass
            import torch

            @dataclass(frozen=True)
            class Moody:
                def __call__(self, texts, answers):
                    return torch.tensor([self.extract(text) is not None for text in texts]), torch.tensor([len(text) for text in texts])

                def extract(self, text):
                    while text == "sleep":
                        time.sleep(1)
                    if text == "compute":
                        9 ** 9 ** 9
                    if text == "die":
                        os._exit(0)
                    if text == "raise":
                        raise ValueError(text)
                    print("this is no reply")
                    return text
        """)
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        import moody

        yield TimeLimited(function=moody.Moody(), seconds=3)


def test_in_time_it_answers_as_the_function_does():
    function = ExactMatch()
    limited = TimeLimited(function=function, seconds=60)
    texts, answers = ["42", "43", "", "\ud800"], ["42", "42", "42", "42"]
    for found, expected in zip(limited(texts, answers), function(texts, answers), strict=True):
        assert found.dtype == expected.dtype
        assert found.tolist() == expected.tolist()
    assert limited.extract(" 42 ") == function.extract(" 42 ")
    assert limited.name == "exact_match"
    assert limited([], []).correct.shape == (0,)
    assert limited.failures == 0


def test_each_late_or_broken_check_costs_its_own_response(moody):
    correct, reward = moody(["fine", "sleep", "compute", "ok", "die", "raise"], ["?"] * 6)
    assert correct.tolist() == [True, False, False, True, False, False]
    assert reward.tolist() == [4, -1, -1, 2, -1, -1]
    assert moody.failures == 4
    assert moody.extract("sleep") is None
    assert moody.failures == 5


def test_a_pool_of_processes_can_be_limited_as_well():
    # math_verify gives a check CPU time, of which a process that does not run uses none
    limited = TimeLimited(function=MathVerify(workers=1), seconds=60)
    assert limited([r"\boxed{\frac{1}{2}}"], ["0.5"]).correct.tolist() == [True]
