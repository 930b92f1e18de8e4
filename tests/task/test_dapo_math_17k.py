"""DAPO-Math-17K: template, cleaning, held-out prompts; on rows made here and on the real file."""

import logging
import os
from collections import defaultdict
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rltoolkit.task import DAPOMath17K

REAL = Path(os.environ.get("RLTOOLKIT_DATA", ""), "dapo_math_17k.parquet")
QUESTION = "What is 2+2? Answer: with {braces}."
WRAPPED = (
    "Solve the following math problem step by step. The last line of your response should be of the form Answer: $Answer "
    "(without quotes) where $Answer is the answer to the problem.\n\n" + QUESTION + "\n\n"
    'Remember to put your answer on its own line after "Answer:".'
)


def write(path: Path, *rows: tuple[str, str]) -> str:
    table = [
        {"prompt": [{"role": "user", "content": prompt}], "reward_model": {"ground_truth": answer, "style": "rule"}}
        for prompt, answer in rows
    ]
    pq.write_table(pa.Table.from_pylist(table), path)
    return str(path)


def test_the_template_is_there_exactly_once(tmp_path):
    # The first prompt is bare (and says "Answer:" of itself), the second carries the template: the same problem.
    path = write(tmp_path / "train.parquet", (QUESTION, "4"), (WRAPPED, "4"))
    (problem,) = DAPOMath17K(path=path, eval_size=0)("train", seed=0)
    assert [message.content for message in problem.messages] == [WRAPPED]
    assert problem.answer == "4"
    (bare,) = DAPOMath17K(path=path, eval_size=0, template="{problem}")("train", seed=0)
    assert bare.messages[0].content == QUESTION


ROWS = (("a", "1"), ("a", "1"), ("b", "2"), ("b", "3"), ("c", "1/2"), ("d", "22099999999999998951424"), ("e", "2" + "0" * 20))


@pytest.mark.parametrize(
    ("keep", "answers"),
    [
        ({}, ["1", "2" + "0" * 20]),
        ({"keep_repeated": True}, ["1", "1", "2" + "0" * 20]),
        ({"keep_conflicting": True}, ["1", "2", "3", "2" + "0" * 20]),
        ({"keep_non_integer": True}, ["1", "1/2", "22099999999999998951424", "2" + "0" * 20]),
    ],
)
def test_rows_are_dropped_unless_kept(tmp_path, keep, answers):
    # 221e20 went through a float64 (its digits end in 8951424); 2e20 holds exactly, and an int64 is no limit.
    task = DAPOMath17K(path=write(tmp_path / "train.parquet", *ROWS), eval_size=0, **keep)
    assert [problem.answer for problem in task("train", seed=0)] == answers


def test_one_log_line_counts_what_was_found(tmp_path, caplog):
    path = write(tmp_path / "train.parquet", *ROWS)
    with caplog.at_level(logging.INFO, logger="rltoolkit"):
        DAPOMath17K(path=path, eval_size=0)("train", seed=0)
    assert caplog.messages == [
        "task dapo_math_17k: 7 rows with 5 different prompts; 2 repeated prompts (dropped); 1 prompts with conflicting answers "
        "(dropped); 1 without an integer answer (dropped); 1 with an answer rounded by a float (dropped); "
        "1 with another answer beyond int64 (kept); 2 problems"
    ]


def test_held_out_prompts_depend_on_the_seed_and_never_train(tmp_path):
    # "p 0" and "p  0" differ in white space only: they are on one side of the split, whichever it is.
    rows = [(f"p {i}", str(i)) for i in range(40)] + [(f"p  {i}", str(i)) for i in range(40)]
    task = DAPOMath17K(path=write(tmp_path / "train.parquet", *rows), eval_size=10, template="{problem}")
    shuffled = DAPOMath17K(path=write(tmp_path / "other.parquet", *rows[::-1]), eval_size=10, template="{problem}")
    train, held_out = ({problem.answer for problem in task(split, 0)} for split in ("train", "eval"))
    assert len(held_out) == 10
    assert train == {str(i) for i in range(40)} - held_out
    assert {problem.answer for problem in shuffled("eval", 0)} == held_out
    assert {problem.answer for problem in task("eval", 1)} != held_out


def test_errors_name_the_config_key(tmp_path):
    path = write(tmp_path / "train.parquet", ("a", "1"), ("b", "2"))
    with pytest.raises(FileNotFoundError, match=r"task\.path='nowhere\.parquet'"):
        DAPOMath17K(path="nowhere.parquet")("train", 0)
    with pytest.raises(ValueError, match=r"task\.eval_size=2: must be less than the 2 different prompts"):
        DAPOMath17K(path=path, eval_size=2)("train", 0)
    with pytest.raises(ValueError, match=r"task\.eval_size=0: must be at least 1"):
        DAPOMath17K(path=path, eval_size=0)("eval", 0)
    with pytest.raises(ValueError, match=r"task\.path=.*no problem is left of 1 rows.*1 without an integer"):
        DAPOMath17K(path=write(tmp_path / "bad.parquet", ("a", "x")))("train", 0)
    with pytest.raises(ValueError, match=r"task\.template=no slot: must be a text with \{problem\} in it \(task=dapo_math_17k\)"):
        DAPOMath17K(template="no slot")


@pytest.mark.skipif(not REAL.is_file(), reason="RLTOOLKIT_DATA is unset")
def test_the_real_file():
    columns = pq.read_table(REAL, columns=["prompt", "reward_model"]).to_pylist()
    answers = defaultdict(set)
    for row in columns:
        answers[row["prompt"][0]["content"]].add(row["reward_model"]["ground_truth"])
    sound = {prompt: min(given) for prompt, given in answers.items() if len(given) == 1}
    # 17,290 prompts, 11 of them with two answers; three answers are floats read back: 221e20, and 105263157894736842 in
    # two prompts, which a float64 can only hold as ...848.
    rounded = {prompt for prompt, answer in sound.items() if answer in {"22099999999999998951424", "105263157894736848"}}
    assert (len(columns), len(answers), len(sound), len(rounded)) == (17_917, 17_290, 17_290 - 11, 3)

    task = DAPOMath17K(path=str(REAL), eval_size=0)
    problems = task("train", seed=0)
    assert len(problems) == 17_276
    assert {problem.answer for problem in problems} == {sound[prompt] for prompt in sound.keys() - rounded}
    assert all(problem.messages[0].content.count("Solve the following math problem step by step.") == 1 for problem in problems)
    assert sum(problem.messages[0].content.count("Answer:") > 2 for problem in problems) == 20
    assert sum(row["reward_model"]["ground_truth"].startswith("-") for row in columns) == 366
    assert sum(int(problem.answer) < 0 for problem in problems) == sum(int(sound[p]) < 0 for p in sound.keys() - rounded)
