"""MATH-500: answers of any form, problems by level."""

import json
import os
from collections import Counter
from pathlib import Path

import pytest

from rltoolkit.reward_function import MathVerify
from rltoolkit.task import MATH500

DATA = Path(os.environ.get("RLTOOLKIT_DATA", ""))


def test_answers_keep_their_form_and_problems_their_level(tmp_path):
    rows = [{"problem": "Half?", "answer": "\\frac{1}{2}", "level": 3}, {"problem": "Two?", "answer": "2", "level": 1}]
    (tmp_path / "math.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    problems = MATH500(path=str(tmp_path / "math.jsonl"))("eval", seed=0)
    assert [(problem.answer, problem.difficulty) for problem in problems] == [("\\frac{1}{2}", "level 3"), ("2", "level 1")]


@pytest.mark.skipif(not (DATA / "math500_oai.jsonl").is_file(), reason="RLTOOLKIT_DATA is unset")
def test_the_real_file_has_five_hundred_problems_in_five_levels_and_its_answers_are_verified():
    problems = MATH500(path=str(DATA / "math500_oai.jsonl"))("eval", seed=0)
    assert len(problems) == 500
    # the levels of the published file
    assert Counter(problem.difficulty for problem in problems) == {
        "level 1": 43, "level 2": 90, "level 3": 105, "level 4": 128, "level 5": 134,
    }  # fmt: skip
    first = [problem.answer for problem in problems[:20]]
    assert MathVerify()([f"Answer: ${answer}$" for answer in first], first).correct.all()
