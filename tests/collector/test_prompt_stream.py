"""Positions of the stream: the problems of a rollout step, a seed of its own for each, and what is known after it."""

import logging
from dataclasses import replace

import numpy as np
import pytest

from rltoolkit.collector.prompt_stream import EncodedProblem, EveryPromptSolved, PromptStream, encode_problems
from rltoolkit.errors import ConfigError
from rltoolkit.model.tiny import character_tokenizer
from rltoolkit.prompt_sampler import GRESO, RetireSolved, Sequential, Shuffled, Thompson
from rltoolkit.task import Message, Problem

PROBLEMS = [EncodedProblem(tokens=[row], answer=str(row), index=row) for row in range(3)]


def step(stream, state, first, count):
    """The problems of the step that begins at position ``first``."""
    stream.begin_step(state, first, count)
    return [stream.problem_at(position).index for position in range(first, first + count)]


def test_passes_follow_upon_each_other_from_step_to_step():
    stream = PromptStream(PROBLEMS, Sequential(), seed=0)
    state = stream.start()
    assert step(stream, state, 0, 7) == [0, 1, 2, 0, 1, 2, 0]
    # five of the seven were sampled
    state = stream.observe(state, [0, 0, 1, 2, 0], [2] * 5)
    assert step(stream, state, 5, 3) == [2, 0, 1]


def test_a_position_has_its_problem_in_whatever_order_it_is_asked():
    stream = PromptStream(PROBLEMS, Shuffled(), seed=1)
    stream.begin_step(stream.start(), 0, 30)
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


def test_all_ranks_take_the_first_ones_order():
    stream = PromptStream(PROBLEMS, Thompson(), seed=0)
    stream.begin_step(stream.start(), 0, 3, agree=lambda order: np.array([1, 1, 2]))
    assert [stream.problem_at(position).index for position in range(3)] == [1, 1, 2]


def test_what_was_asked_is_counted_once():
    stream = PromptStream(PROBLEMS, RetireSolved(), seed=0)
    state = stream.start()
    stream.begin_step(state, 0, 10)
    # two problems of three, the second one of them solved
    state = stream.observe(state, [1, 2], [2, 2])
    assert stream.metrics(state) == {"prompts_asked": 2, "prompts_retired": 1}
    stream.begin_step(state, 2, 10)
    assert stream.metrics(stream.observe(state, [1, 1, 1, 1], [2] * 4))["prompts_asked"] == 3


def test_when_no_problem_is_left_it_says_so():
    stream = PromptStream(PROBLEMS, RetireSolved(), seed=0)
    state = stream.start()
    stream.begin_step(state, 0, 3)
    state = stream.observe(state, [2, 2, 2], [2, 2, 2])
    stream.begin_step(state, 3, 0)  # a step that needs no more groups can go on
    with pytest.raises(EveryPromptSolved, match="every prompt is solved: prompt_sampler=retire_solved has none left of 3"):
        stream.begin_step(state, 3, 1)


def test_a_state_of_another_task_or_sampler_is_refused_by_name():
    saved = PromptStream(PROBLEMS, Thompson(), seed=0)
    state = saved.state_dict(saved.start())
    assert PromptStream(list(PROBLEMS), Thompson(decay=1.0), seed=0).load_state_dict(state)
    other_answer = [*PROBLEMS[:2], replace(PROBLEMS[2], answer="3")]
    for problems, sampler, this in (
        (PROBLEMS[:2], Thompson(), r"this run's of prompt_sampler=thompson on 2 problems"),
        (other_answer, Thompson(), r"this run's of prompt_sampler=thompson on 3 problems \(digest"),
        (PROBLEMS, GRESO(), r"this run's of prompt_sampler=greso on 3 problems"),
    ):
        with pytest.raises(
            ConfigError, match=rf"checkpoint's prompts are those of prompt_sampler=thompson on 3 problems .*{this}"
        ):
            PromptStream(problems, sampler, seed=0).load_state_dict(state)
    with pytest.raises(ConfigError, match="those of an earlier version of rltoolkit"):
        saved.load_state_dict({})


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
