"""Groups submitted while others run, on both engines: the same groups as when all are asked for at once."""

from __future__ import annotations

import itertools
import os
import signal
import threading

import pytest
import torch

from rltoolkit.rollout_batch import join_groups
from rltoolkit.rollout_engine import Sampling, Transformers

from .conftest import MAX_LENGTH, add

PROMPTS = [[2, 12, 3], [4, 5, 6, 7, 8, 9, 10], [20, 21, 22, 23], [30]]
SEEDS = [0, 1, 2, 3]
SAMPLING = Sampling(max_new_tokens=16)


def finish(stream, count):
    """Wait for so many groups: {key: rollouts [G]}."""
    groups = {}
    while len(groups) < count:
        finished = stream.next_finished()
        assert finished, "returned without a group, without a timeout"
        add(groups, finished)
    return groups


def assert_same(group, expected):
    """A group against the row of ``generate``; padding may differ."""
    mask, other = group["response_mask"], expected["response_mask"]
    assert torch.equal(group["input_ids"][mask], expected["input_ids"][other])
    torch.testing.assert_close(group["rollout_log_probs"][mask], expected["rollout_log_probs"][other], atol=1e-4, rtol=0)
    for name in ("response_length", "truncated"):
        assert torch.equal(group[name], expected[name])
    assert group.get("response_text").tolist() == expected.get("response_text").tolist()


def test_groups_are_those_of_generate_under_their_keys(engine):
    together = engine.generate(PROMPTS, 4, SAMPLING, SEEDS)
    with engine.stream(4, SAMPLING) as stream:
        stream.submit([10, 7, 3, 5], PROMPTS, SEEDS)
        groups = finish(stream, 4)
        assert stream.next_finished() is None
    for key, expected in zip([10, 7, 3, 5], together.unbind(0), strict=True):
        assert groups[key].batch_size == (4,)
        assert_same(groups[key], expected)


def test_a_group_in_parts_is_the_whole_group(engine):
    whole = engine.generate(PROMPTS[:2], 4, SAMPLING, SEEDS[:2])
    with engine.stream(2, SAMPLING) as stream:
        stream.submit([0, 1], PROMPTS[:2], SEEDS[:2])
        groups = finish(stream, 1)
        stream.submit([2, 3], PROMPTS[:2], SEEDS[:2], first=2)
        groups |= finish(stream, 4 - len(groups))
    for row in range(2):
        assert_same(join_groups([groups[row], groups[row + 2]]), whole[row])


def test_groups_can_be_added_while_others_run(engine):
    together = engine.generate(PROMPTS, 8, SAMPLING, SEEDS)
    with engine.stream(8, SAMPLING) as stream:
        stream.submit([0, 1], PROMPTS[:2], SEEDS[:2])
        assert stream.next_finished(timeout=0.0) is None  # one token each: of 16 responses some are longer
        stream.submit([2, 3], PROMPTS[2:], SEEDS[2:])
        groups = finish(stream, 4)
    for key, expected in enumerate(together.unbind(0)):
        assert_same(groups[key], expected)


def test_when_an_added_group_starts(engine):
    # Group 1 has room for 48 - 46 = 2 tokens, group 0 for 47. vLLM takes it into the running batch, transformers into the next.
    with engine.stream(8, Sampling(max_new_tokens=100)) as stream:
        stream.submit([0], [[30]], [0])
        assert stream.next_finished(timeout=0.0) is None
        stream.submit([1], [[2] * (MAX_LENGTH - 2)], [1])
        assert list(finish(stream, 2)) == {"VLLMEngine": [1, 0], "TransformersEngine": [0, 1]}[type(engine).__name__]


def test_a_batch_of_transformers_need_not_hold_whole_groups(checkpoint, transformers_engine):
    expected = transformers_engine.generate(PROMPTS, 4, SAMPLING, SEEDS)
    small = Transformers(device="cpu", max_num_seqs=3)(model_path=checkpoint(True), max_length=MAX_LENGTH, seed=0)
    for group, row in zip(small.generate(PROMPTS, 4, SAMPLING, SEEDS).unbind(0), expected.unbind(0), strict=True):
        assert_same(group, row)


def test_a_prompt_that_does_not_fit_is_refused_and_the_others_go_on(engine):
    with engine.stream(2, SAMPLING) as stream:
        stream.submit([0], PROMPTS[:1], SEEDS[:1])
        with pytest.raises(ValueError, match="prompt 0 has 48 tokens"):
            stream.submit([1], [[2] * MAX_LENGTH], [0])
        assert list(finish(stream, 1)) == [0]


def test_an_error_of_the_caller_drops_what_runs(engine):
    before = engine.generate(PROMPTS, 2, SAMPLING, SEEDS)

    def failing():
        with engine.stream(8, SAMPLING) as stream:
            stream.submit(range(4), PROMPTS, SEEDS)
            stream.next_finished(timeout=0.0)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        failing()
    assert torch.equal(engine.generate(PROMPTS, 2, SAMPLING, SEEDS)["input_ids"], before["input_ids"])


def test_an_interrupt_in_the_middle_leaves_the_engine_usable(engine):
    before = engine.generate(PROMPTS, 2, SAMPLING, SEEDS)

    def sample_for_ever():
        with engine.stream(8, SAMPLING) as stream:
            for key in itertools.count():
                stream.submit([key], PROMPTS[:1], [key])
                stream.next_finished(timeout=0.01)

    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        sample_for_ever()
    assert torch.equal(engine.generate(PROMPTS, 2, SAMPLING, SEEDS)["input_ids"], before["input_ids"])
