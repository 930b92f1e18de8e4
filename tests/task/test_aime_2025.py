"""AIME 2025: what it reads; the rest is AIME 2024's."""

import json

import pytest

from rltoolkit.task import AIME2025
from rltoolkit.task._template import PAPER_TEMPLATE


def test_a_row_becomes_a_prompt_and_an_integer(tmp_path):
    (tmp_path / "aime.jsonl").write_text(json.dumps({"problem": "Find x.", "answer": "070", "id": "0"}) + "\n")
    (problem,) = AIME2025(path=str(tmp_path / "aime.jsonl"))("eval", seed=0)
    assert (problem.messages[0].content, problem.answer) == (PAPER_TEMPLATE.replace("{problem}", "Find x."), "70")


def test_there_is_no_training_split():
    with pytest.raises(ValueError, match="task=aime_2025 is for evaluation only"):
        AIME2025()("train", seed=0)
