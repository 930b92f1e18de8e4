"""The generated task of the smollm2 preset."""

import re
from collections import Counter

import pytest

from rltoolkit.task.chat_arithmetic import ChatArithmetic


def questions(task: ChatArithmetic, split: str, seed: int) -> list[str]:
    return [problem.messages[-1].content for problem in task(split, seed)]


def result(text: str) -> int:
    return eval(re.search(r"\d+[-+*]\d+", text).group())


def test_answers_and_worked_examples_are_right() -> None:
    for problem in ChatArithmetic(train_size=200)("train", seed=1):
        assert [message.role for message in problem.messages] == ["user", "assistant"] * 4 + ["user"]
        assert result(problem.messages[-1].content) == int(problem.answer) >= 0
        for question, worked in zip(problem.messages[:-1:2], problem.messages[1::2], strict=True):
            assert worked.content.endswith(f"\nAnswer: {result(question.content)}")


@pytest.mark.parametrize(("share", "two_digit"), [(0.0, 0), (0.25, 20), (1.0, 80)])
def test_the_share_of_two_digit_questions(share: float, two_digit: int) -> None:
    """Of 80 questions, 80 * share have numbers from 10 to 99."""
    texts = questions(ChatArithmetic(eval_size=80, two_digit_share=share), "eval", 0)
    assert sum(bool(re.search(r"\d\d[-+]\d\d", text)) for text in texts) == two_digit


def test_the_share_of_hard_questions_and_their_difficulty() -> None:
    """Of 80 questions a quarter is hard and a half has two digits, so 20, 40 and 20 of one digit."""
    problems = ChatArithmetic(eval_size=80, two_digit_share=0.5, hard_share=0.25)("eval", 0)
    by_difficulty = {"one digit": r"\b\d[-+*]\d\b", "two digits": r"\b\d\d[-+]\d\d\b", "hard": r"\b(\d\d\*\d|\d{3}[-+]\d{3})\b"}
    assert Counter(problem.difficulty for problem in problems) == {"one digit": 20, "two digits": 40, "hard": 20}
    assert all(re.search(by_difficulty[problem.difficulty], problem.messages[-1].content) for problem in problems)


def test_worked_examples_answer_as_they_are_told_to() -> None:
    problem = ChatArithmetic(example="<think>{working}</think><answer>{answer}</answer>")("train", 0)[0]
    assert problem.messages[5].content == "<think>6*3=18</think><answer>18</answer>"


def test_eval_is_distinct_the_same_for_every_seed_and_disjoint_from_train_and_examples() -> None:
    task = ChatArithmetic()
    evaluation = questions(task, "eval", 0)
    assert len(set(evaluation)) == 100
    assert evaluation == questions(task, "eval", 7)
    assert set(evaluation).isdisjoint(questions(task, "train", 0) + questions(task, "train", 7))
    problem = task("train", 0)[0]
    assert set(evaluation).isdisjoint(message.content for message in problem.messages)


def test_train_follows_from_the_seed() -> None:
    task = ChatArithmetic(train_size=50)
    assert task("train", 3) == task("train", 3)
    assert task("train", 3) != task("train", 4)


def test_values_out_of_range_are_named() -> None:
    with pytest.raises(ValueError, match=r"task\.two_digit_share=1\.5: .* \(task=chat_arithmetic\)"):
        ChatArithmetic(two_digit_share=1.5)
    with pytest.raises(ValueError, match=r"task\.hard_share=0\.8: .*1 - two_digit_share = 0\.75"):
        ChatArithmetic(hard_share=0.8)
    with pytest.raises(ValueError, match=r"task\.example=42: .* a text with \{answer\} in it"):
        ChatArithmetic(example="42")
    with pytest.raises(ValueError, match=r"task\.eval_size=400: must be smaller.* \(task=chat_arithmetic\)"):
        ChatArithmetic(eval_size=400, two_digit_share=0.0)
