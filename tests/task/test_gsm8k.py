"""GSM8K: the answer after ####, and two files for two splits."""

import json
import os
from pathlib import Path

import pytest

from rltoolkit.task import GSM8K

DATA = Path(os.environ.get("RLTOOLKIT_DATA", ""))


def write(file: Path, *rows: tuple[str, str]) -> str:
    file.write_text("".join(json.dumps({"question": question, "answer": answer}) + "\n" for question, answer in rows))
    return str(file)


@pytest.fixture
def folder(tmp_path):
    write(tmp_path / "train.jsonl", ("How much?", "500 + 580 = 1080\n#### 1,080"), ("Shared?", "#### 1"), ("Half?", "#### 1/2"))
    write(tmp_path / "test.jsonl", ("Shared?", "#### 1"), ("Debt?", "#### -5"))
    return tmp_path


def test_a_folder_or_two_files(folder):
    # "Shared?" is also a test problem, 1/2 is no integer: one training problem is left.
    by_folder = GSM8K(path=str(folder), template="Q: {problem}")
    by_files = GSM8K(path=str(folder / "train.jsonl"), eval_path=str(folder / "test.jsonl"), template="Q: {problem}")
    for task in (by_folder, by_files):
        assert [(p.messages[0].content, p.answer) for p in task("train", 0)] == [("Q: How much?", "1080")]
        assert [(p.messages[0].content, p.answer) for p in task("eval", 0)] == [("Q: Shared?", "1"), ("Q: Debt?", "-5")]


def test_errors_name_the_config_key(folder):
    train = str(folder / "train.jsonl")
    with pytest.raises(ValueError, match=r"task\.eval_path='': must name the test file.* \(task=gsm8k\)"):
        GSM8K(path=train)("train", 0)
    with pytest.raises(FileNotFoundError, match=r"task\.eval_path='gone\.jsonl'"):
        GSM8K(path=train, eval_path="gone.jsonl")("eval", 0)
    with pytest.raises(ValueError, match="every training problem is also an evaluation problem"):
        GSM8K(path=train, eval_path=train)("train", 0)
    (folder / "test.jsonl").unlink()
    with pytest.raises(FileNotFoundError, match=r"task\.path=.*no single file gsm8k_test\.\* or test\*"):
        GSM8K(path=str(folder))("eval", 0)


@pytest.mark.skipif(not (DATA / "gsm8k_train.jsonl").is_file(), reason="RLTOOLKIT_DATA is unset")
def test_the_real_files():
    task = GSM8K(path=str(DATA))
    train, test = task("train", 0), task("eval", 0)
    assert (len(train), len(test)) == (7_473, 1_319)
    lines = (DATA / "gsm8k_train.jsonl").read_text().splitlines()
    assert [p.answer for p in train] == [json.loads(line)["answer"].split("#### ")[1].replace(",", "") for line in lines]
