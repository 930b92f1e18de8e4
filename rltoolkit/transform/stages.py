r"""The stages that a problem passes: its answer's form, a question rewritten to ask for an integer, a check by solving it.

    answer   an integer is kept as it is; words are rejected
    form     by algebra (``answer_form``), or, where that knows none, by the model, whose values must give the answer back
    rewrite  the model asks for the sum of the form's letters; the sum must be the form's, and nothing may be lost or given away
    check    the model solves the new problem several times; enough solutions must agree with the integer

What a model writes is read with regular expressions and compared; it is never run.

Source: DAPO, arXiv:2503.14476, section 3.5 and the appendix on dataset transformation. The paper has a model do all of this;
algebra comes first here, as it costs no request and cannot be wrong about the integer.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from rltoolkit.reward_function.integer_answer import IntegerAnswer
from rltoolkit.task._template import fill
from rltoolkit.transform.algebra import Algebra
from rltoolkit.transform.answer_form import LARGEST_SUM, Form, clean, is_text, read_integer
from rltoolkit.transform.language_model import LanguageModel, RequestRefused

_VERIFIER = IntegerAnswer()
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")


@dataclass(frozen=True)
class Problem:
    """A row of the input. ``id`` is a hash of the other two."""

    problem: str
    answer: str

    @functools.cached_property
    def id(self) -> str:
        """The same wherever and whenever the row is read."""
        return hashlib.sha256(f"{self.problem}\0{self.answer}".encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Outcome:
    """What became of a row: one line of the journal.

    ``stage`` is where it ended and ``reason`` why; a row that is in the new data set ended in ``answer`` as ``kept`` or in ``check``
    as ``transformed``. ``verification``: ``algebra`` if the integer follows from the original answer, ``solutions`` if only the
    solutions speak for it. ``reply``: what was rejected (of ``check``, the new problem), to see what a prompt lacks.
    """

    id: str
    stage: str
    reason: str
    original_problem: str
    original_answer: str
    problem: str = ""
    answer: str = ""
    kind: str = ""
    form: str = ""
    values: Mapping[str, int] = field(default_factory=dict)
    verification: str = ""
    right: int = 0
    solutions: int = 0
    reply: str = ""

    @property
    def accepted(self) -> bool:
        """Whether the row is in the new data set."""
        return self.reason in ("kept", "transformed")


class Rejected(Exception):
    """Ends a row in a stage for a reason, both short enough to count by."""

    def __init__(self, stage: str, reason: str, reply: str) -> None:
        super().__init__(f"{stage}: {reason}")
        self.stage, self.reason, self.reply = stage, reason, reply


@dataclass(kw_only=True)
class Prompts:
    """What the model is asked, with ``{slots}`` to fill: see conf/prompts."""

    form: str = "???"
    rewrite: str = "???"
    solve: str = "???"

    def __post_init__(self) -> None:
        slots = {"form": ("problem", "answer"), "rewrite": ("problem", "answer", "form", "combination"), "solve": ("problem",)}
        for name, needed in slots.items():
            text = getattr(self, name)
            missing = [slot for slot in needed if text != "???" and f"{{{slot}}}" not in text]
            if missing:
                raise ValueError(f"prompts.{name}: must hold {{{missing[0]}}}")


@dataclass(frozen=True)
class Stages:
    """Takes rows through the stages.

    Args:
        model: rewrites and solves.
        algebra: verifies a form that the model proposes.
        prompts: what the model is asked.
        solutions, required: how often a new problem is solved, and how many solutions must give the integer.
        attempts: how often the model may try to name a form, and to rewrite.
        seed: of the run; each request's own follows from it and from the row.
    """

    model: LanguageModel
    algebra: Algebra
    prompts: Prompts
    solutions: int
    required: int
    attempts: int
    seed: int

    async def transform(self, row: Problem, form: Form | None) -> Outcome:
        """Take a row whose answer is neither integer nor text from its form (None: unknown) to its outcome. See ``LanguageModel``
        for what it raises, ``RequestRefused`` excepted."""
        kind, verified = form.kind if form else "other", "algebra"
        try:
            if form is None:
                form, gives_answer = await self._ask_form(row)
                verified = "algebra" if gives_answer else "solutions"
            problem = await self._ask_rewrite(row, form)
            right = await self._check(row, problem, form.integer)
        except Rejected as end:
            return Outcome(row.id, end.stage, end.reason, row.problem, row.answer, kind=kind, reply=end.reply)
        except RequestRefused:
            return Outcome(row.id, "request", "refused by the model", row.problem, row.answer, kind=kind)
        return Outcome(
            row.id, "check", "transformed", row.problem, row.answer, problem=problem, answer=str(form.integer), kind=kind,
            form=form.sentence, values=form.values, verification=verified, right=right, solutions=self.solutions,
        )  # fmt: skip

    async def _ask_form(self, row: Problem) -> tuple[Form, bool]:
        """A form that the model names, and whether algebra confirms it."""
        flaw = reply = ""
        for attempt in range(self.attempts):
            reply = await self._ask(row, f"form {attempt}", fill(self.prompts.form, problem=row.problem, answer=row.answer))
            form = parse_form(reply)
            if form is None:
                flaw = "malformed reply"
                continue
            gives_answer = await asyncio.to_thread(self.algebra.gives_answer, form, row.answer)
            if gives_answer is not False:
                return form, bool(gives_answer)
            flaw = "does not give the answer back"
        raise Rejected("form", flaw, reply)

    async def _ask_rewrite(self, row: Problem, form: Form) -> str:
        prompt = fill(
            self.prompts.rewrite, problem=row.problem, answer=row.answer, form=form.sentence, combination=form.combination
        )
        flaw: str | None = None
        reply = ""
        for attempt in range(self.attempts):
            reply = await self._ask(row, f"rewrite {attempt}", prompt)
            problem, integer = tagged(reply, "problem"), tagged(reply, "answer")
            flaw = "malformed reply" if not problem or not integer else rewrite_flaw(row, form, problem, integer)
            if flaw is None:
                return problem
        raise Rejected("rewrite", flaw or "malformed reply", reply)

    async def _check(self, row: Problem, problem: str, integer: int) -> int:
        """The number of right solutions. Raises Rejected if there are too few, or if as many agree on something else."""
        prompt = fill(self.prompts.solve, problem=problem)
        replies = await asyncio.gather(*(self._ask(row, f"solve {n}", prompt) for n in range(self.solutions)))
        votes = Counter(_VERIFIER.extract(reply) for reply in replies)
        right = votes[str(integer)]
        if any(count >= max(right, 2) for answer, count in votes.items() if answer not in (str(integer), None)):
            raise Rejected("check", "solutions agree on another integer", problem)
        if right < self.required:
            raise Rejected("check", "too few right solutions", problem)
        return right

    async def _ask(self, row: Problem, what: str, prompt: str) -> str:
        seed = hashlib.sha256(f"{self.seed} {row.id} {what}".encode()).digest()
        return await self.model.reply(prompt, int.from_bytes(seed[:4], "big") >> 1)


def read_answer(row: Problem) -> Outcome | None:
    """The outcome of a row that needs no model: an integer is kept, words are rejected; None for any other."""
    integer = read_integer(row.answer)
    if integer is not None and abs(int(integer)) <= LARGEST_SUM:
        return Outcome(row.id, "answer", "kept", row.problem, row.answer, row.problem, integer, "integer", verification="algebra")
    if integer is not None:
        return Outcome(row.id, "answer", "integer beyond 64 bits", row.problem, row.answer, kind="integer")
    if not row.answer.strip():
        return Outcome(row.id, "answer", "empty", row.problem, row.answer, kind="empty")
    return Outcome(row.id, "answer", "text", row.problem, row.answer, kind="text") if is_text(row.answer) else None


def parse_form(reply: str) -> Form | None:
    """``<form>k - m\\sqrt{n}</form><values>k=11, m=2, n=6</values>``; None unless the values are those of letters in the form."""
    template, assignments = tagged(reply, "form"), tagged(reply, "values")
    found = re.fullmatch(r"(?:\s*\$?[a-zA-Z]\s*=\s*[+-]?\d{1,18}\$?\s*(?:[,;]|$))+", assignments)
    if not template or not found:
        return None
    values = {letter: int(value) for letter, value in re.findall(r"([a-zA-Z])\s*=\s*([+-]?\d+)", assignments)}
    form = Form("other", template.strip("$ "), values)
    return (
        form if set(values) <= set(re.findall(r"\\[a-zA-Z]+|[a-zA-Z]", template)) and abs(form.integer) <= LARGEST_SUM else None
    )


def rewrite_flaw(row: Problem, form: Form, problem: str, integer: str) -> str | None:
    """What is wrong with a rewritten problem and the integer that comes with it, or None."""
    new, old, stated = (set(_NUMBER.findall(text)) for text in (problem, row.problem, form.sentence))
    asked, answer, template = (_squeezed(clean(text)) for text in (problem, row.answer, form.template))
    if _VERIFIER.extract(f"Answer: {integer}") != str(form.integer):
        return "another integer than the form's"
    if old - new:
        return "a number of the problem is lost"
    if template not in asked or _squeezed(form.combination) not in asked:
        return "does not ask for the form's sum"
    gives_answer = len(answer) > 2 and answer in asked.replace(template, "") and answer not in _squeezed(clean(row.problem))
    gives_values = len(form.values) > 1 and any(f"{letter}={value}" in asked for letter, value in form.values.items())
    if gives_answer or gives_values or str(abs(form.integer)) in new - old - stated:
        return "gives the answer away"
    return None


def tagged(reply: str, tag: str) -> str:
    """What the last <tag>...</tag> of a reply holds; empty without one."""
    before, closing, _ = reply.rpartition(f"</{tag}>")
    _, opening, inside = before.rpartition(f"<{tag}>")
    return inside.strip() if closing and opening else ""


def _squeezed(text: str) -> str:
    return re.sub(r"[\s$]|\\[,;:! ]", "", text)
