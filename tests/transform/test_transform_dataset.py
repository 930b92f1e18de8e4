"""The command, from a table to a data set that trains."""

import json
import sys

import pytest

import rltoolkit
from rltoolkit import transform_dataset
from rltoolkit.errors import ConfigError
from rltoolkit.transform.answer_form import read_form
from rltoolkit.transform.report import Estimate, counts, estimate
from rltoolkit.transform.stages import Outcome, Problem, Prompts

ROWS = [
    ("Problem 1: the sum is 19, what is x?", r"11 - 2\sqrt{6}"),
    ("Problem 2: how many?", "42"),
    ("Problem 3: who?", r"\text{Evelyn}"),
    ("Problem 4 lying: the sum is 17, what is x?", r"\frac{14}{3}"),
    ("Problem 2: how many?", "42"),
    ("Problem 5: which?", "1"),
    ("Problem 5: which?", "2"),
]


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "table.jsonl"
    path.write_text("".join(json.dumps({"problem": problem, "answer": answer}) + "\n" for problem, answer in ROWS))
    return path


def command(table, output, server, *more):
    endpoint = ["model=endpoint", f"model.base_url={server.url}", "model.name=scripted", "model.max_retries=1"]
    transform_dataset.transform_dataset(transform_dataset.load(f"input={table}", f"output={output}", *endpoint, *more))


def test_a_table_becomes_a_data_set_that_trains(table, tmp_path, server, capsys):
    command(table, tmp_path / "out", server)
    data = [json.loads(line) for line in (tmp_path / "out" / "data.jsonl").read_text().splitlines()]
    assert [(row["original_answer"], row["answer"], row["reason"]) for row in data] == [
        (r"11 - 2\sqrt{6}", "19", "transformed"),
        ("42", "42", "kept"),
    ]
    run = rltoolkit.load("task=json_lines", f"task.path={tmp_path / 'out' / 'data.jsonl'}", "task.eval_size=0")
    problems = run.components.task("train", 0)
    assert [problem.answer for problem in problems] == ["19", "42"]
    assert "Find $k + m + n$." in problems[0].messages[0].content
    assert 'after "Answer:"' in problems[0].messages[0].content

    card = (tmp_path / "out" / "README.md").read_text()
    assert card.startswith("---\ntask_categories:\n")
    assert "2 problems made from 6 different rows (1 more repeated one of them)" in card
    for line in (
        "| answer | conflicting answers | 2 |",
        "| answer | text | 1 |",
        "| rewrite | another integer than the form's | 1 |",
    ):
        assert line in card
    told = capsys.readouterr().err
    # two rows for the model, each one rewrite and four solutions; at most one rewrite more each
    assert "2 for the model to rewrite" in told
    assert "10 requests, at most 12" in told


def test_the_same_command_does_nothing_twice(table, tmp_path, server):
    command(table, tmp_path / "out", server)
    files = {path.name: path.read_bytes() for path in (tmp_path / "out").glob("*[a-z]")}
    asked = server.requests.total()
    command(table, tmp_path / "out", server)
    assert server.requests.total() == asked
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").glob("*[a-z]")} == files


def test_other_settings_need_another_folder(table, tmp_path, server):
    command(table, tmp_path / "out", server)
    with pytest.raises(ConfigError, match="begun with other values of solutions, temperature"):
        command(table, tmp_path / "out", server, "solutions=2", "temperature=1")
    command(table, tmp_path / "out", server, "concurrency=2")  # decides how, not what


def test_a_dry_run_asks_and_writes_nothing(table, tmp_path, server, capsys):
    command(table, tmp_path / "out", server, "dry_run=true")
    assert not (tmp_path / "out").exists()
    assert server.requests.total() == 0
    assert "10 requests, at most 12" in capsys.readouterr().err


def test_a_prompt_of_ones_own(table, tmp_path, server):
    command(table, tmp_path / "out", server, "prompts.solve='Just say it: {problem}'")
    assert "Just say it" in (tmp_path / "out" / "settings.json").read_text()
    with pytest.raises(ConfigError, match=r"prompts.rewrite: must hold \{answer\}"):
        command(table, tmp_path / "other", server, "prompts.rewrite='{problem}'")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "input must be given"),
        (("input=none.jsonl", "output=out"), "input='none.jsonl': no such file"),
        (("input=a.jsonl", "output=out", "model=endpoint"), "model.name must be given"),
        (("input=a.jsonl", "output=out", "solutions=2", "required=3"), r"required=3: must be in [1, 2]"),
        (("input=a.jsonl", "output=out", "solution=2"), "Did you mean solutions"),
        (("input=a.jsonl", "output=out", "model=gpt"), "endpoint"),
    ],
)
def test_bad_input_is_refused_in_a_sentence(arguments, words, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["transform_dataset", *arguments])
    with pytest.raises(SystemExit) as end:
        transform_dataset.main()
    assert end.value.code == 2
    assert words in capsys.readouterr().err


def test_an_estimate_counts_requests():
    prompts = Prompts(form="{problem}{answer}", rewrite="{problem}{answer}{form}{combination}", solve="{problem}")
    half, unknown = Problem("p", r"\frac{1}{2}"), Problem("q", r"\cot x")
    cost = estimate([(half, read_form(half.answer)), (unknown, None)], prompts, solutions=4, attempts=3, max_new_tokens=100)
    # one row 1 + 4, the other 1 + 1 + 4; three rewrites and forms may each be tried twice more
    assert (cost.requests, cost.most_requests, cost.most_new_tokens) == (11, 17, 1100)


def test_an_estimate_in_money():
    # 2 million tokens at 0.5 for each million, half a million at 4
    assert Estimate(requests=9, most_requests=9, prompt_tokens=2_000_000, most_new_tokens=500_000).price(0.5, 4.0) == 3.0


def test_a_price_is_said_before_anything_is_asked(table, tmp_path, server, capsys):
    command(table, tmp_path / "out", server, "dry_run=true", "price_in=0.5", "price_out=4")
    assert "at 0.5 and 4 for a million tokens in and out" in capsys.readouterr().err
    with pytest.raises(ConfigError, match=r"price_in=0\.5: must be given together with price_out"):
        command(table, tmp_path / "out", server, "dry_run=true", "price_in=0.5")


def test_counts_are_in_the_order_of_the_stages():
    ended = [("check", "b"), ("answer", "kept"), ("check", "a"), ("check", "b"), ("request", "refused")]
    outcomes = [Outcome(str(number), stage, reason, "", "") for number, (stage, reason) in enumerate(ended)]
    assert counts(outcomes) == [("answer", "kept", 1), ("check", "b", 2), ("check", "a", 1), ("request", "refused", 1)]
