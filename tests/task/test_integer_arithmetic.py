"""The generated task of the laptop preset."""

from collections import Counter

import pytest

from rltoolkit.task.integer_arithmetic import IntegerArithmetic


def operands(prompt: str) -> int:
    return 1 + prompt.count("+") + prompt.count("-")


def prompts(task: IntegerArithmetic, split: str, seed: int) -> list[str]:
    return [problem.messages[0].content for problem in task(split, seed)]


@pytest.mark.parametrize("split", ["train", "eval"])
def test_answers_are_right(split: str) -> None:
    for problem in IntegerArithmetic(train_size=300)(split, seed=1):
        (message,) = problem.messages
        assert message.role == "user"
        assert eval(message.content.removesuffix("=")) == int(problem.answer)


def test_each_number_of_operands_comes_equally_often() -> None:
    # 300 over 2, 3, 4, 5 and 6 operands: 60 each
    assert Counter(map(operands, prompts(IntegerArithmetic(), "eval", 0))) == dict.fromkeys(range(2, 7), 60)
    assert Counter(map(operands, prompts(IntegerArithmetic(train_size=50), "train", 0))) == dict.fromkeys(range(2, 7), 10)


def test_eval_is_distinct_the_same_for_every_seed_and_disjoint_from_train_of_any_seed() -> None:
    task = IntegerArithmetic()
    evaluation = prompts(task, "eval", 0)
    assert len(set(evaluation)) == 300
    assert evaluation == prompts(task, "eval", 7)
    assert set(evaluation).isdisjoint(prompts(task, "train", 0) + prompts(task, "train", 7))


def test_train_follows_from_the_seed_and_a_smaller_set_is_the_start_of_a_larger_one() -> None:
    large, small = (prompts(IntegerArithmetic(train_size=size), "train", 3) for size in (400, 90))
    assert large[:90] == small
    assert large != prompts(IntegerArithmetic(train_size=400), "train", 4)


@pytest.mark.parametrize(
    ("field", "value"), [("train_size", 0), ("min_operands", 1), ("max_operands", 1), ("max_operand", 0), ("limit", 23)]
)
def test_a_value_out_of_range_is_named(field: str, value: int) -> None:
    with pytest.raises(ValueError, match=rf"task\.{field}={value}: .* \(task=integer_arithmetic\)"):
        IntegerArithmetic(**{field: value})


def test_more_distinct_problems_than_there_are_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"task\.eval_size=500: must be at most \d+: there are no more.* \(task=integer_arithmetic\)"
    ):
        IntegerArithmetic(eval_size=500, max_operands=2)("eval", seed=0)
