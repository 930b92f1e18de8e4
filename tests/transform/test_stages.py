"""Rows through all stages, with a scripted model behind a real client on the loopback interface."""

import asyncio

import pytest

from rltoolkit.errors import RunFailed
from rltoolkit.rollout_engine.base import Sampling
from rltoolkit.transform.algebra import Algebra
from rltoolkit.transform.answer_form import Form
from rltoolkit.transform.journal import Journal
from rltoolkit.transform.language_model import Endpoint
from rltoolkit.transform.stages import Problem, Prompts, Stages, parse_form, read_answer, rewrite_flaw
from rltoolkit.transform.transformation import transform
from rltoolkit.transform_dataset import load

ROOT = r"11 - 2\sqrt{6}"  # k - m sqrt n, 19


@pytest.fixture(scope="module")
def algebra():
    return Algebra()


@pytest.fixture(scope="module")
def prompts():
    """Those of conf/."""
    return Prompts(**load("input=none.jsonl", "output=none").prompts)


def run(server, prompts, algebra, rows, path, *, concurrency=8, **endpoint):
    """The outcome of each row by the first line of its problem, and how many were not answered."""

    async def go():
        client = Endpoint(name="scripted", base_url=server.url, **endpoint).connect(Sampling(max_new_tokens=64), concurrency)
        stages = Stages(client, algebra, prompts, solutions=4, required=2, attempts=2, seed=0)
        try:
            forms = algebra.forms([row.answer for row in rows])
            return await transform(list(zip(rows, forms, strict=True)), stages, journal, concurrency)
        finally:
            await client.close()

    journal = Journal(path / "journal.jsonl")
    try:
        left_out = asyncio.run(go())
    finally:
        journal.close()
    return [journal.outcomes.get(row.id) for row in rows], left_out


def problem(number, word="", total=19):
    return f"Problem {number} {word}: the sum is {total}, what is x?"


def test_a_root_becomes_an_integer(server, prompts, algebra, tmp_path):
    [outcome], left_out = run(server, prompts, algebra, [Problem(problem(1), ROOT)], tmp_path)
    assert (outcome.stage, outcome.reason, outcome.answer) == ("check", "transformed", "19")
    assert (outcome.kind, outcome.verification, outcome.right, outcome.solutions) == ("root", "algebra", 4, 4)
    assert outcome.values == {"k": 11, "m": 2, "n": 6}
    assert "Find $k + m + n$." in outcome.problem
    # one rewrite and four solutions; the form costs nothing, algebra knows it
    assert dict(server.requests) == {("rewrite", "1"): 1, ("solve", "1"): 4}
    assert left_out == 0


@pytest.mark.parametrize(
    ("word", "stage", "reason", "requests"),
    [
        ("malformed", "rewrite", "malformed reply", 2),  # both attempts
        ("lying", "rewrite", "another integer than the form's", 2),
        ("forgetful", "rewrite", "a number of the problem is lost", 2),
        ("chatty", "rewrite", "gives the answer away", 2),
        ("confused", "check", "too few right solutions", 5),  # solutions 20, 21, 22, 23: each another integer
        ("contradicted", "check", "solutions agree on another integer", 5),  # four times 20
        ("refused", "request", "refused by the model", 1),  # the server says 400, which no repetition changes
        ("clumsy", "check", "transformed", 6),  # the second attempt is good
    ],
)
def test_each_reply_has_its_end(server, prompts, algebra, tmp_path, word, stage, reason, requests):
    [outcome], _ = run(server, prompts, algebra, [Problem(problem(7, word), ROOT)], tmp_path, concurrency=1)
    assert (outcome.stage, outcome.reason) == (stage, reason)
    assert outcome.accepted == (reason == "transformed")
    assert bool(outcome.reply) == (stage in ("rewrite", "check") and reason != "transformed")
    assert server.requests.total() == requests


def test_the_model_names_a_form_that_algebra_does_not_know(server, prompts, algebra, tmp_path):
    rows = [Problem(problem(1, total=7), "(x+5)(x+2)"), Problem(problem(2, "misled", total=7), "(x+5)(x+3)")]
    [named, misled], _ = run(server, prompts, algebra, rows, tmp_path)
    assert (named.reason, named.verification, named.answer) == ("transformed", "algebra", "7")
    assert (misled.stage, misled.reason) == ("form", "does not give the answer back")  # 2 and 5 are not 5 and 3


def test_requests_under_way_are_limited(server, prompts, algebra, tmp_path):
    rows = [Problem(problem(number, "slow"), ROOT) for number in range(6)]
    outcomes, _ = run(server, prompts, algebra, rows, tmp_path, concurrency=4)
    assert [outcome.reason for outcome in outcomes] == ["transformed"] * 6
    assert server.most_at_once == 4  # six rows want to ask, and later their four solutions each


def test_failing_requests_are_repeated(server, prompts, algebra, tmp_path):
    rows = [Problem(problem(1, "flaky"), ROOT), Problem(problem(2, "garbled"), ROOT)]
    [flaky, garbled], left_out = run(server, prompts, algebra, rows, tmp_path)
    assert flaky.reason == "transformed"
    # twice 503 in each stage, then one rewrite and four solutions; those that failed were asked again by the client
    assert (server.requests["rewrite", "1"], server.requests["solve", "1"]) == (3, 6)
    assert (garbled, left_out) == (None, 1)  # "choices": [] is no answer


def test_a_row_without_an_answer_from_the_model_is_left_for_the_next_run(server, prompts, algebra, tmp_path):
    rows = [Problem(problem(number), ROOT) for number in range(3)]
    server.down = True
    outcomes, left_out = run(server, prompts, algebra, rows, tmp_path, max_retries=0)
    assert (outcomes, left_out) == ([None] * 3, 3)
    server.down = False
    outcomes, left_out = run(server, prompts, algebra, rows, tmp_path)
    assert ([outcome.reason for outcome in outcomes], left_out) == (["transformed"] * 3, 0)


def test_a_model_that_never_answers_ends_the_run(server, prompts, algebra, tmp_path):
    server.down = True
    rows = [Problem(problem(number), ROOT) for number in range(100)]
    with pytest.raises(RunFailed, match="did not answer 20 rows"):
        run(server, prompts, algebra, rows, tmp_path, max_retries=0)
    assert server.requests.total() < 40


def test_an_answer_that_needs_no_model():
    assert [read_answer(Problem("p", answer)).reason for answer in ("-1,080", r"\text{east}", "", str(2**63))] == [
        "kept", "text", "empty", "integer beyond 64 bits",
    ]  # fmt: skip
    assert read_answer(Problem("p", "-1,080")).answer == "-1080"
    assert read_answer(Problem("p", ROOT)) is None


def test_what_a_form_in_a_reply_must_be():
    good = parse_form(r"<form>$k - m\sqrt{n}$</form> <values>k = 11, m=2; n=6</values>")
    assert (good.template, good.integer) == (r"k - m\sqrt{n}", 19)
    for reply in (
        "k - m",  # no tags
        "<form>k - m</form><values>k=11, z=2</values>",  # z is not in the form
        "<form>k</form><values>k=__import__('os').getpid()</values>",
        "<form>k</form><values>k=9**9**9</values>",
        "<form>k</form><values>k=1.5</values>",
        "<form>k</form><values></values>",
    ):
        assert parse_form(reply) is None


def test_what_a_rewritten_problem_must_be():
    row = Problem("A box holds 12 balls. What is the length?", ROOT)
    form = Form("root", r"k - m\sqrt{n}", {"k": 11, "m": 2, "n": 6}, ("$n$ is not divisible by the square of any prime",))
    good = r"A box holds 12 balls. The length has the form $k - m \sqrt{n}$. Find $k+m+n$."
    assert rewrite_flaw(row, form, good, "19") is None
    assert rewrite_flaw(row, form, good, "$19$.") is None  # as the verifier reads it
    assert rewrite_flaw(row, form, good, "20") == "another integer than the form's"
    assert rewrite_flaw(row, form, good.replace("12", "some"), "19") == "a number of the problem is lost"
    assert rewrite_flaw(row, form, good.replace("k+m+n", "k"), "19") == "does not ask for the form's sum"
    for hint in (r" It is $11 - 2 \sqrt{6}$.", " The result is 19.", " Here m = 2."):
        assert rewrite_flaw(row, form, good + hint, "19") == "gives the answer away"
