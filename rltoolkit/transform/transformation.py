"""A whole table: read it, take every row through the stages, and write the new data set.

The folder ``output`` holds ``journal.jsonl`` (every row that is done, see ``journal``), ``settings.json`` (what decides the rows) and,
once all rows are done, ``data.jsonl`` and ``README.md``, the data set card. The same command goes on where the last one stopped.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from rltoolkit.component import check
from rltoolkit.errors import ConfigError, RunFailed
from rltoolkit.rollout_engine.base import Sampling
from rltoolkit.task._table import read_rows
from rltoolkit.task._template import PAPER_TEMPLATE, bare
from rltoolkit.transform.answer_form import Form
from rltoolkit.transform.journal import Journal
from rltoolkit.transform.language_model import ModelUnavailable
from rltoolkit.transform.stages import Outcome, Problem, Prompts, Stages, read_answer

GIVE_UP_AFTER = 20  # rows in a row without an answer from the model


@dataclass(kw_only=True)
class Settings:
    """The configuration of ``python -m rltoolkit.transform_dataset``, model and engine left out.

    Args:
        input: a .jsonl, .json or .parquet file, or a data set of the hub.
        output: the folder to write to, and to go on in.
        problem_field, answer_field: the fields' names, dotted where they are nested (``reward_model.ground_truth``).
        template: the words around ``{problem}`` in the new data set's ``prompt``.
        solutions, required: how often a new problem is solved to check it, and how many solutions must be right.
        attempts: how often the model may try to name a form, and to rewrite.
        temperature, top_p, max_new_tokens: of every reply.
        max_prompt_tokens: longer requests are refused, by the toolkit's own engines.
        concurrency: requests, and rows, under way at once.
        seed: of every sample.
        limit: rows to read; null: all.
        price_in, price_out: of a million tokens of requests and of replies, in any currency; the estimate then says what it costs.
        dry_run: only read, count and estimate.
        prompts: what the model is asked.
    """

    section: ClassVar[str] = ""

    input: str = "???"
    output: str = "???"
    problem_field: str = "problem"
    answer_field: str = "answer"
    template: str = PAPER_TEMPLATE
    solutions: int = 4
    required: int = 2
    attempts: int = 2
    temperature: float = 0.7
    top_p: float = 0.95
    max_new_tokens: int = 4096
    max_prompt_tokens: int = 2048
    concurrency: int = 32
    seed: int = 0
    limit: int | None = None
    price_in: float | None = None
    price_out: float | None = None
    dry_run: bool = False
    prompts: Prompts = field(default_factory=Prompts)

    def __post_init__(self) -> None:
        check(self, "template", "{problem}" in self.template, "a text with {problem} in it")
        check(self, "solutions", self.solutions >= 1, "at least 1")
        check(self, "required", 1 <= self.required <= self.solutions, f"in [1, {self.solutions}], the number of solutions")
        check(self, "attempts", self.attempts >= 1, "at least 1")
        check(
            self, "price_in", (self.price_in is None) == (self.price_out is None), "given together with price_out, or not at all"
        )
        for name in ("price_in", "price_out"):
            check(self, name, getattr(self, name) is None or getattr(self, name) >= 0, "at least 0")
        check(self, "temperature", self.temperature > 0, "above 0")
        check(self, "top_p", 0 < self.top_p <= 1, "in (0, 1]")
        check(self, "max_new_tokens", self.max_new_tokens >= 1, "at least 1")
        check(self, "max_prompt_tokens", self.max_prompt_tokens >= 1, "at least 1")
        check(self, "concurrency", self.concurrency >= 1, "at least 1")
        check(self, "limit", self.limit is None or self.limit >= 1, "at least 1, or null")

    @property
    def sampling(self) -> Sampling:
        """How replies are sampled."""
        return Sampling(temperature=self.temperature, top_p=self.top_p, max_new_tokens=self.max_new_tokens)


@dataclass(frozen=True)
class Table:
    """The different rows of the input, in its order, and how many more there were that repeat one of them."""

    rows: tuple[Problem, ...]
    repeated: int

    def read_answers(self) -> dict[Problem, Outcome | None]:
        """The outcome of every row that needs no model, None for the others. A problem with two answers is rejected with both."""
        answers = Counter(row.problem for row in self.rows)
        return {
            row: read_answer(row)
            if answers[row.problem] == 1
            else Outcome(row.id, "answer", "conflicting answers", row.problem, row.answer, kind="conflicting")
            for row in self.rows
        }


def read_table(settings: Settings) -> Table:
    """The rows of a .jsonl, .json or .parquet file, or of a data set of the hub. Raises ConfigError where it cannot be read."""
    is_dataset = re.fullmatch(r"[\w.-]+/[\w.-]+(?<!\.jsonl)(?<!\.json)(?<!\.parquet)", settings.input) is not None
    path, dataset = ("", settings.input) if is_dataset else (settings.input, "")
    seen: dict[Problem, None] = {}
    count = 0
    try:
        for row in read_rows(path, dataset, config="input"):
            problem = bare(row.messages(settings.problem_field, "problem_field")[-1].content)
            seen.setdefault(Problem(problem, row.text(settings.answer_field, "answer_field")))
            count += 1
            if count == settings.limit:
                break
    except (FileNotFoundError, ValueError) as error:
        raise ConfigError(str(error)) from error
    if not count:
        raise ConfigError(f"input={settings.input}: no rows")
    return Table(tuple(seen), count - len(seen))


def open_journal(settings: Settings, stamp: dict[str, object]) -> Journal:
    """The journal in ``output``. ``stamp`` is everything that decides what is written there.

    Raises:
        ConfigError: what is there was made with another stamp; the message names the keys.
    """
    folder = Path(settings.output)
    folder.mkdir(parents=True, exist_ok=True)
    journal = Journal(folder / "journal.jsonl")
    record = folder / "settings.json"
    if record.exists():
        before = json.loads(record.read_text())
        changed = sorted(key for key in before.keys() | stamp.keys() if before.get(key) != stamp.get(key))
        if changed:
            journal.close()
            raise ConfigError(
                f"output={settings.output} was begun with other values of {', '.join(changed)}; choose another folder"
            )
    else:
        record.write_text(json.dumps(stamp, indent=2, ensure_ascii=False) + "\n")
    return journal


def settle(table: Table, journal: Journal) -> list[Problem]:
    """Write down the rows that need no model; returns those that do and are not done."""
    new = {row: outcome for row, outcome in table.read_answers().items() if row.id not in journal.outcomes}
    journal.append([outcome for outcome in new.values() if outcome is not None])
    return [row for row, outcome in new.items() if outcome is None]


async def transform(
    rows: Sequence[tuple[Problem, Form | None]],
    stages: Stages,
    journal: Journal,
    concurrency: int,
    progress: Callable[[Outcome], None] = lambda outcome: None,
) -> int:
    """Take rows with their forms through the stages, ``concurrency`` at once; each is written down as soon as it is done.

    Returns:
        The number of rows that the model did not answer; they are not in the journal, and the next call may do them.

    Raises:
        RunFailed: it did not answer ``GIVE_UP_AFTER`` rows one after the other.
    """
    waiting = iter(rows)
    left_out, unanswered = 0, 0

    async def work() -> None:
        nonlocal left_out, unanswered
        for row, form in waiting:
            try:
                outcome = await stages.transform(row, form)
            except ModelUnavailable as error:
                left_out, unanswered = left_out + 1, unanswered + 1
                if unanswered >= GIVE_UP_AFTER:
                    raise RunFailed(
                        f"the model did not answer {unanswered} rows one after the other ({error}); what is done is in the "
                        "journal, the same command goes on from there"
                    ) from error
                continue
            unanswered = 0
            journal.append([outcome])
            progress(outcome)

    try:
        async with asyncio.TaskGroup() as workers:
            for _ in range(concurrency):
                workers.create_task(work())
    except* RunFailed as failures:
        raise failures.exceptions[0] from None
    return left_out


def data_rows(table: Table, journal: Journal, template: str) -> list[dict[str, object]]:
    """The rows of the new data set, in the order of the input."""
    rows = []
    for row in table.rows:
        outcome = journal.outcomes[row.id]
        if outcome.accepted:
            values = dataclasses.asdict(outcome)
            del values["reply"]  # only of rejected rows
            rows.append({"id": values.pop("id"), "prompt": template.replace("{problem}", outcome.problem), **values})
    return rows
