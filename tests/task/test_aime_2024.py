"""AIME 2024: two file forms, one list of 30 problems."""

import json
import os
from pathlib import Path

import pytest

from rltoolkit.task import AIME2024
from rltoolkit.task._template import PAPER_TEMPLATE

DATA = Path(os.environ.get("RLTOOLKIT_DATA", ""))


def test_both_forms_give_the_same_problem(tmp_path):
    wrapped = PAPER_TEMPLATE.replace("{problem}", "Find x.")
    released = {"prompt": [{"role": "user", "content": wrapped}], "reward_model": {"ground_truth": "73"}}
    plain = {"problem": "Find x.", "expected_answer": "073"}  # AIME's sheet writes three digits
    (tmp_path / "released.json").write_text(json.dumps([released] * 32))
    (tmp_path / "plain.jsonl").write_text(json.dumps(plain) + "\n\n")
    (problem,) = AIME2024(path=str(tmp_path / "released.json"))("eval", seed=0)
    assert (problem.messages[0].content, problem.answer) == (wrapped, "73")
    assert AIME2024(path=str(tmp_path / "plain.jsonl"))("eval", seed=1) == [problem]


def test_there_is_no_training_split():
    with pytest.raises(ValueError, match="task=aime_2024 is for evaluation only"):
        AIME2024()("train", seed=0)


@pytest.mark.skipif(not (DATA / "aime2024.jsonl").is_file(), reason="RLTOOLKIT_DATA is unset")
def test_the_real_files_hold_the_same_thirty_answers():
    forms = [AIME2024(path=str(DATA / name))("eval", 0) for name in ("aime2024.jsonl", "aime2024_dapo_eval.parquet")]
    assert [len(problems) for problems in forms] == [30, 30]
    first, second = (sorted(int(problem.answer) for problem in problems) for problems in forms)
    assert first == second
    assert all(0 <= answer <= 999 for answer in first)
    before, after = PAPER_TEMPLATE.split("{problem}")
    for problem in (*forms[0], *forms[1]):
        text = problem.messages[0].content
        assert text.startswith(before)
        assert text.endswith(after)
        assert before not in text[1:]
