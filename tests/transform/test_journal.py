"""What is written stays written, once: half lines, two programs, ten kills."""

import asyncio
import json
import multiprocessing
import os
import signal
import time

import pytest

from rltoolkit.errors import ConfigError, RunFailed
from rltoolkit.rollout_engine.base import Sampling
from rltoolkit.transform.algebra import Algebra
from rltoolkit.transform.answer_form import read_form
from rltoolkit.transform.journal import Journal
from rltoolkit.transform.language_model import Endpoint
from rltoolkit.transform.stages import Outcome, Problem, Prompts, Stages
from rltoolkit.transform.transformation import Table, settle, transform

KILLS, CONCURRENCY = 10, 8
PROMPTS = Prompts(
    form="{problem} {answer}",
    rewrite="Rewrite the problem.\nProblem: {problem}\n"
    "{answer} has the form {form}. Keep everything. It is the value of {combination}. Do not",
    solve="{problem}",
)


def outcome(name):
    return Outcome(name, "answer", "kept", "2 + 2 = ?\u2028", "4", "2 + 2 = ?\u2028", "4", "integer")


def test_half_a_line_is_cut_off_and_written_again(tmp_path):
    path = tmp_path / "journal.jsonl"
    journal = Journal(path)
    journal.append([outcome("a"), outcome("b")])
    journal.close()
    whole = path.read_bytes()
    path.write_bytes(whole[:-9])
    journal = Journal(path)
    assert list(journal.outcomes) == ["a"]
    journal.append([outcome("b")])
    journal.close()
    assert path.read_bytes() == whole


def test_a_row_is_not_written_twice(tmp_path):
    journal = Journal(tmp_path / "journal.jsonl")
    journal.append([outcome("a")])
    with pytest.raises(ValueError, match="row a is in the journal already"):
        journal.append([outcome("b"), outcome("a")])
    assert list(journal.outcomes) == ["a"]
    journal.close()


def test_two_programs_do_not_write_at_once(tmp_path):
    journal = Journal(tmp_path / "journal.jsonl")
    with pytest.raises(ConfigError, match="another program is writing there"):
        Journal(tmp_path / "journal.jsonl")
    journal.close()
    Journal(tmp_path / "journal.jsonl").close()


def test_a_line_that_is_not_ours_is_named(tmp_path):
    (tmp_path / "journal.jsonl").write_text('{"id": 1}\n')
    with pytest.raises(RunFailed, match=r"line 1 of .*journal.jsonl"):
        Journal(tmp_path / "journal.jsonl")


def rows():
    """5,000 of them: every twentieth is for the model."""
    return tuple(Problem(f"Problem {n}: the sum is 19, x?", r"11 - 2\sqrt{6}" if n % 20 == 0 else str(n)) for n in range(5000))


def work(url, path):
    """What the command does with a table, in a process to be killed."""

    async def go():
        client = Endpoint(name="scripted", base_url=url).connect(Sampling(max_new_tokens=64), CONCURRENCY)
        stages = Stages(client, Algebra(), PROMPTS, solutions=1, required=1, attempts=1, seed=0)
        form = read_form(r"11 - 2\sqrt{6}")
        await transform([(row, form) for row in todo], stages, journal, CONCURRENCY)

    journal = Journal(path)
    todo = settle(Table(rows(), 0), journal)
    asyncio.run(go())
    journal.close()


def test_five_thousand_rows_killed_ten_times_lose_and_repeat_nothing(server, tmp_path):
    path = tmp_path / "journal.jsonl"
    read_form("1/2")  # what is loaded here, the forked processes need not load
    import openai  # noqa: F401

    kills = 0
    for target in (1, *range(4770, 4996, 25)[:9], None):  # bytes first, then lines: of 4,750 kept rows, then one by one
        process = multiprocessing.get_context("fork").Process(target=work, args=(server.url, path))
        process.start()
        while process.is_alive() and (target is None or not reached(path, target)):
            time.sleep(0.01)
        if target is not None:
            os.kill(process.pid, signal.SIGKILL)
            kills += 1
        process.join()
    assert (kills, process.exitcode) == (KILLS, 0)
    written = [json.loads(line)["id"] for line in path.read_text().split("\n")[:-1]]
    assert len(written) == 5000
    assert set(written) == {row.id for row in rows()}
    # nothing that was in the journal is asked again: only the rows under way at a kill are
    asked = sum(number for (stage, _), number in server.requests.items() if stage == "rewrite")
    assert 250 <= asked <= 250 + KILLS * CONCURRENCY


def reached(path, target):
    if not path.exists():
        return False
    return path.stat().st_size >= target if target == 1 else path.read_bytes().count(b"\n") >= target
