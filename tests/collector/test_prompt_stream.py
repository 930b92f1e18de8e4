"""Positions of the stream: every problem once in a pass, and a seed of its own for each."""

import logging

import pytest

from rltoolkit.collector.prompt_stream import EncodedProblem, PromptStream, encode_problems
from rltoolkit.model.tiny import character_tokenizer
from rltoolkit.prompt_sampler import Sequential, Shuffled
from rltoolkit.task import Message, Problem

PROBLEMS = [EncodedProblem(tokens=[row], answer=str(row), index=row) for row in range(3)]


def test_passes_follow_upon_each_other():
    stream = PromptStream(PROBLEMS, Sequential(), seed=0)
    assert [stream.problem_at(position).index for position in range(7)] == [0, 1, 2, 0, 1, 2, 0]


def test_a_position_has_its_problem_in_whatever_order_it_is_asked():
    stream = PromptStream(PROBLEMS, Shuffled(), seed=1)
    forwards = [stream.problem_at(position).index for position in range(30)]
    backwards = [stream.problem_at(position).index for position in reversed(range(30))]
    assert forwards == backwards[::-1]
    passes = [forwards[start : start + 3] for start in range(0, 30, 3)]
    assert all(sorted(each) == [0, 1, 2] for each in passes)
    assert len({tuple(each) for each in passes}) > 1


def test_seeds_differ_between_positions_and_runs_and_stay_below_63_bits():
    one, other = (PromptStream(PROBLEMS, Sequential(), seed=seed) for seed in (3, 4))
    seeds = [stream.seed_at(position) for stream in (one, other) for position in range(2000)]
    assert len(set(seeds)) == 4000
    assert max(seeds) < 2**62


def asked(*prompts):
    return [Problem((Message("user", prompt),), answer=f"answer to {prompt}") for prompt in prompts]


def test_prompts_that_are_too_long_or_empty_are_left_out_and_counted(caplog):
    tokenizer = character_tokenizer()
    problems = asked("1+2=", "1+2+3=", "", "1=", "1+22=")
    with caplog.at_level(logging.INFO, logger="rltoolkit"):
        encoded = encode_problems(problems, tokenizer, chat=False, max_prompt_tokens=4, what="held-out")
    # 4 and 2 characters stay, with their rows in the task; 6 and 5 are more than 4
    assert [(problem.index, tokenizer.decode(problem.tokens), problem.answer) for problem in encoded] == [
        (0, "1+2=", "answer to 1+2="),
        (3, "1=", "answer to 1="),
    ]
    assert caplog.messages == [
        "3 of 5 held-out prompts are left out: 2 are longer than sampling.max_prompt_tokens=4, 1 are empty"
    ]


def test_prompts_that_all_fit_are_not_worth_a_word(caplog):
    with caplog.at_level(logging.INFO, logger="rltoolkit"):
        assert len(encode_problems(asked("1=", "2="), character_tokenizer(), chat=False, max_prompt_tokens=2)) == 2
    assert not caplog.messages


def test_a_task_without_a_usable_prompt_is_refused():
    message = "sampling.max_prompt_tokens=1: no training prompt is left, 2 are longer, 1 are empty; .* has 2 tokens"
    with pytest.raises(ValueError, match=message):
        encode_problems(asked("1=", "", "1+2="), character_tokenizer(), chat=False, max_prompt_tokens=1)
