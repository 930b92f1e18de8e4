"""JSON lines: any table, its fields named in config."""

import json
import logging
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rltoolkit.task import JSONLines, Message, Problem

REAL = Path(os.environ.get("RLTOOLKIT_DATA", ""), "math500_oai.jsonl")
ROWS = [{"q": "1+1", "a": {"value": 2}}, {"q": "1/2", "a": {"value": "\\frac12"}}, {"q": "?", "a": {"value": None}}]
FIELDS = {"prompt_field": "q", "answer_field": "a.value", "eval_size": 0}


@pytest.mark.parametrize("ending", ["jsonl", "json", "parquet"])
def test_every_file_format_reads_the_same(tmp_path, ending):
    file = tmp_path / f"rows.{ending}"
    rows = [{"q": row["q"], "a": {"value": row["a"]["value"] and str(row["a"]["value"])}} for row in ROWS]
    if ending == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), file)
    else:
        file.write_text(json.dumps(rows) if ending == "json" else "\n".join(map(json.dumps, rows)))
    problems = JSONLines(path=str(file), **FIELDS)("train", seed=0)
    # A row without any answer is never a problem; \frac12 is one, unless integers are asked for.
    assert [(p.messages[0].content, p.answer) for p in problems] == [("1+1", "2"), ("1/2", "\\frac12")]
    assert [p.answer for p in JSONLines(path=str(file), keep_non_integer=False, **FIELDS)("train", 0)] == ["2"]
    assert os.listdir(tmp_path) == [file.name]


def test_messages_keep_their_roles_and_the_template_wraps_the_last(tmp_path):
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "1+1"}]
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps({"prompt": turns, "answer": 2.0}))
    (problem,) = JSONLines(path=str(file), template="{problem} = ?", eval_size=0)("train", seed=0)
    assert problem == Problem((Message("system", "Be brief."), Message("user", "1+1 = ?")), "2")


def test_an_evaluation_file_is_never_trained_on(tmp_path):
    train, evaluation = tmp_path / "train.jsonl", tmp_path / "eval.jsonl"
    train.write_text('{"prompt": "a b", "answer": 1}\n{"prompt": "c", "answer": 2}\n')
    evaluation.write_text('{"prompt": "a  b", "answer": 1}\n')
    task = JSONLines(path=str(train), eval_path=str(evaluation))
    assert [p.answer for p in task("train", 0)] == ["2"]
    assert [p.answer for p in task("eval", 0)] == ["1"]


@pytest.mark.parametrize(("prompts", "held_out"), [(2, 1), (29, 2), (30, 3)])  # a tenth, rounded down, but one at least
def test_without_an_evaluation_file_a_tenth_of_the_prompts_is_held_out(tmp_path, prompts, held_out):
    rows = [json.dumps({"prompt": f"{i}+1", "answer": i + 1}) for i in range(prompts)]
    (tmp_path / "rows.jsonl").write_text("\n".join(rows))
    (tmp_path / "backwards.jsonl").write_text("\n".join(reversed(rows)))
    task, backwards = JSONLines(path=str(tmp_path / "rows.jsonl")), JSONLines(path=str(tmp_path / "backwards.jsonl"))
    train, evaluation = set(task("train", seed=0)), set(task("eval", seed=0))
    assert (len(train), len(evaluation)) == (prompts - held_out, held_out)
    assert not train & evaluation
    assert set(backwards("eval", seed=0)) == evaluation


def test_one_prompt_cannot_be_both_trained_and_evaluated_on(tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"prompt": "1+1", "answer": 2}')
    with pytest.raises(ValueError, match=r"task\.eval_size=1: must be less than the 1 different prompts \(task=json_lines\)"):
        JSONLines(path=str(tmp_path / "rows.jsonl"))("train", seed=0)
    with pytest.raises(ValueError, match=r"task\.eval_size=0: must be at least 1 to evaluate on this task"):
        JSONLines(path=str(tmp_path / "rows.jsonl"), eval_size=0)("eval", seed=0)
    with pytest.raises(ValueError, match=r"task\.eval_size=-1: must be at least 0, or null"):
        JSONLines(eval_size=-1)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"text": "1+1", "answer": 2}', r"line 1 of .* no field 'prompt' \(task\.prompt_field\); its fields are: text, answer"),
        ('{"prompt": "1+1", "gold": 2}', r"line 1 of .* no field 'answer' \(task\.answer_field\); its fields are: prompt, gold"),
        ('{"prompt": 5, "answer": 2}', r"'prompt' \(task\.prompt_field\) must be a string or messages"),
        ('\n{"prompt": ', r"line 2 of .* is not JSON"),
        ("[1]", r"line 1 of .* must be a JSON object"),
        ("", r"task\.path=.*no problem is left of 0 rows"),
    ],
)
def test_a_file_of_another_form_is_refused(tmp_path, content, message):
    file = tmp_path / "rows.jsonl"
    file.write_text(content)
    with pytest.raises(ValueError, match=message):
        JSONLines(path=str(file))("train", seed=0)


def test_a_source_is_needed(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"task\.path='': name a local file, or a hub dataset with task\.dataset"):
        JSONLines()("train", seed=0)
    (tmp_path / "rows.csv").touch()
    with pytest.raises(ValueError, match=r"task\.path=.*must end in \.parquet, \.jsonl, \.json"):
        JSONLines(path=str(tmp_path / "rows.csv"))("train", seed=0)


def test_a_dataset_is_read_through_the_datasets_library(tmp_path, monkeypatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub" / "train.jsonl").write_text('{"prompt": "1+1", "answer": "2"}\n')
    (problem,) = JSONLines(dataset=str(tmp_path / "hub"), eval_size=0)("train", seed=0)
    assert problem == Problem((Message("user", "1+1"),), "2")
    with pytest.raises(FileNotFoundError, match=r"task\.dataset='.*gone' cannot be read .* set task\.path to a local file"):
        JSONLines(dataset=str(tmp_path / "gone"))("train", seed=0)


@pytest.mark.skipif(not REAL.is_file(), reason="RLTOOLKIT_DATA is unset")
def test_math_500(caplog):
    with caplog.at_level(logging.INFO, logger="rltoolkit"):
        problems = JSONLines(eval_path=str(REAL), prompt_field="problem")("eval", seed=0)
    # An independent count: an integer as plain digits, or with LaTeX's thousands separator or a dollar sign.
    answers = [json.loads(line)["answer"] for line in REAL.read_text().splitlines()]
    stripped = [answer.replace(",\\!", "").replace("\\$", "").replace(" ", "") for answer in answers]
    plain = sum(text.lstrip("-").replace(",", "").isdecimal() and text not in {"3,5,7", "1,-2", "-2,1"} for text in stripped)
    assert len(problems) == 500
    assert f"{500 - plain} without an integer answer (kept)" in caplog.text
