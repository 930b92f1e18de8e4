"""Countdown: the answer is the puzzle."""

import json
import os
from pathlib import Path

import pytest

from rltoolkit.task import Countdown

REAL = Path(os.environ.get("RLTOOLKIT_DATA", ""), "countdown_test.parquet")


def test_a_row_becomes_a_prompt_and_a_puzzle(tmp_path):
    file = tmp_path / "puzzles.jsonl"
    file.write_text('{"target": 24, "nums": [3, 8], "prompt": "ignored"}\n{"target": 24, "nums": [3, 8]}\n')
    (problem,) = Countdown(path=str(file), eval_size=0, template="{target} from {numbers}")("train", seed=0)
    assert problem.messages[0].content == "24 from 3, 8"
    assert json.loads(problem.answer) == {"target": 24, "numbers": [3, 8]}


def test_a_file_without_puzzles_is_refused(tmp_path):
    file = tmp_path / "puzzles.jsonl"
    file.write_text('{"target": 24, "numbers": [3, 8]}\n')
    with pytest.raises(ValueError, match=r"line 1 of .* has no field 'nums' \(task\.path\); its fields are: target, numbers"):
        Countdown(path=str(file))("train", seed=0)


@pytest.mark.skipif(not REAL.is_file(), reason="RLTOOLKIT_DATA is unset")
def test_the_real_file():
    task = Countdown(path=str(REAL), eval_size=100)
    train, held_out = ({problem.answer for problem in task(split, 0)} for split in ("train", "eval"))
    assert (len(train), len(held_out), len(train & held_out)) == (924, 100, 0)
    assert {"target": 24, "numbers": [47, 76, 55, 60]} in [json.loads(answer) for answer in train | held_out]
