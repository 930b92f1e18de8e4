"""Rollout files read back, those of older versions and of runs that go on included."""

import json
import math

import pytest

from rltoolkit.report.viewer import Filter, Response, read_rollouts
from rltoolkit.report.viewer.records import visible

from .conftest import response_line


def test_a_response_is_joined_with_its_update(run_folder):
    right, wrong, *rejected, _ = read_rollouts(run_folder)
    assert (right.optimizer_step, right.ratio, right.clipped) == (1, [1.1] * 6, [0] * 6)
    assert (wrong.optimizer_step, wrong.ratio, wrong.clipped) == (2, [0.7] * 6, [-1] * 6)
    assert [(each.optimizer_step, each.ratio) for each in rejected] == [(None, [])] * 2
    assert right.at("probability", 0) == math.exp(-0.5)
    assert (right.at("advantage", 5), wrong.at("clipped", 0), rejected[0].at("ratio", 0)) == (0.5, -1, None)


def test_filters_together(run_folder):
    responses = read_rollouts(run_folder)

    def found(**asked):
        return [(each.rollout_step, each.row) for each in responses if Filter(**asked)(each)]

    assert found() == [(1, 0), (1, 1), (1, 2), (1, 3), (2, 0)]
    assert found(correct=False, fate="kept") == [(1, 1), (2, 0)]
    assert found(step=1, text="WAIT") == [(1, 2), (1, 3)]
    assert found(truncated=False, correct=False) == [(1, 1), (1, 2), (1, 3)]


def test_a_line_that_is_still_being_written_is_passed_over(write_rollouts):
    folder = write_rollouts({1: [response_line(0)]})
    with (folder / "rollouts" / "step_00001.jsonl").open("a") as file:
        file.write(json.dumps(response_line(1))[:40])
    assert [each.row for each in read_rollouts(folder)] == [0]


def test_files_of_older_versions_show_what_they_have(write_rollouts):
    # as 0.1 wrote them: no tokens, no group
    old = [
        {"prompt_index": prompt, "correct": False, "reward": -1.0, "response_length": 3, "truncated": False, "policy_version": 0,
         "advantage": 0.0, "answer": "4", "response": text}
        for prompt, text in ((8, "a"), (8, "b"), (2, "c"))
    ]  # fmt: skip
    responses = read_rollouts(write_rollouts({1: old}))
    assert [(each.group, list(each.pieces)) for each in responses] == [(0, ["a"]), (0, ["b"]), (1, ["c"])]


def test_a_run_without_responses_says_why(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no rollouts/step_\*\.jsonl \(trainer\.log_rollouts_every=0 writes none\)"):
        read_rollouts(tmp_path)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\nb", "a⏎\nb"),
        ("\x1b[2J\x07", "␛[2J␇"),  # would clear the screen and ring
        ("\x9b31m", "⟨U+009B⟩31m"),  # the same in one byte
        ("\u202eabc", "⟨U+202E⟩abc"),  # would turn round what follows
        ("\u2028\ud800\x7f", "⟨U+2028⟩⟨U+D800⟩⟨U+007F⟩"),
        ("é €漢", "é €漢"),
    ],
)
def test_what_would_hide_or_move_text_shows_its_number(text, shown):
    assert visible(text) == shown


def test_a_token_without_numbers_has_none():
    assert Response(rollout_step=1, row=0, response="x").at("entropy", 0) is None
