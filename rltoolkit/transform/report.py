"""What a transformation will cost, what became of the rows, and the data set card."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rltoolkit.transform.answer_form import Form
from rltoolkit.transform.stages import Outcome, Problem, Prompts

CHARACTERS_A_TOKEN = 3.5  # roughly, of English with LaTeX


@dataclass(frozen=True)
class Estimate:
    """Requests and tokens that are still to come: what every row needs, and at most if every attempt is used."""

    requests: int
    most_requests: int
    prompt_tokens: int
    most_new_tokens: int

    def line(self) -> str:
        """For people."""
        return (
            f"{self.requests:,} requests, at most {self.most_requests:,}; about {self.prompt_tokens:,} tokens in, "
            f"at most {self.most_new_tokens:,} out"
        )

    def price(self, price_in: float, price_out: float) -> float:
        """What a first attempt at every row costs where each reply is as long as it may be; prices are those of a million tokens."""
        return (self.prompt_tokens * price_in + self.most_new_tokens * price_out) / 1e6


def estimate(
    rows: Sequence[tuple[Problem, Form | None]], prompts: Prompts, *, solutions: int, attempts: int, max_new_tokens: int
) -> Estimate:
    """The cost of rows with their forms (None: the model is asked for it), if each passes all stages at the first attempt.

    requests = sum over rows of (1 if the form is unknown) + 1 + solutions,    at most max_new_tokens new tokens each
    """
    unknown = sum(form is None for _, form in rows)
    requests = unknown + len(rows) * (1 + solutions)
    characters = 0
    for row, form in rows:
        words = len(row.problem) + len(row.answer)
        characters += 0 if form else len(prompts.form) + words
        characters += len(prompts.rewrite) + words + 100 + solutions * (len(prompts.solve) + words + 100)
    return Estimate(
        requests=requests,
        most_requests=requests + (attempts - 1) * (unknown + len(rows)),
        prompt_tokens=round(characters / CHARACTERS_A_TOKEN),
        most_new_tokens=requests * max_new_tokens,
    )


def counts(outcomes: Iterable[Outcome]) -> list[tuple[str, str, int]]:
    """(stage, reason, rows), in the order of the stages, the most frequent reason first."""
    stages = ("answer", "form", "rewrite", "check", "request")
    found = Counter((outcome.stage, outcome.reason) for outcome in outcomes)
    ordered = sorted(found.items(), key=lambda item: (stages.index(item[0][0]), -item[1], item[0][1]))
    return [(stage, reason, number) for (stage, reason), number in ordered]


def kinds(outcomes: Iterable[Outcome]) -> list[tuple[str, int, int]]:
    """(kind of answer, rows, of which in the new data set), the most frequent first."""
    all_rows, accepted = Counter[str](), Counter[str]()
    for outcome in outcomes:
        all_rows[outcome.kind] += 1
        accepted[outcome.kind] += outcome.accepted
    return [(kind, number, accepted[kind]) for kind, number in all_rows.most_common()]


def card(outcomes: Sequence[Outcome], repeated: int, settings: Mapping[str, object]) -> str:
    """README.md of the new data set: front matter for the hub, then what the rows are and how they were made."""
    accepted = [outcome for outcome in outcomes if outcome.accepted]
    by_solutions = sum(outcome.verification == "solutions" for outcome in accepted)
    made = "\n".join(f"- {key}: `{value}`" for key, value in settings.items() if key not in ("prompts", "template"))
    return f"""\
---
task_categories:
- text-generation
tags:
- math
- reinforcement-learning
size_categories:
- {_size_category(len(accepted))}
configs:
- config_name: default
  data_files: data.jsonl
---

# Problems whose answers are integers

{len(accepted):,} problems made from {len(outcomes):,} different rows ({repeated:,} more repeated one of them). An integer answer was
kept with its problem. Any other was read as a form with letters ($11 - 2\\sqrt{{6}}$ as $k - m\\sqrt{{n}}$), and a language model
rewrote the question to ask for the sum of the letters ($k + m + n = 19$), as in DAPO (arXiv:2503.14476, section 3.5). The integer was
computed from the original answer by computer algebra; for {by_solutions:,} rows that was not possible, and only the model's own
solutions speak for it. The licence is that of the source.

    python -m rltoolkit +experiment=dapo task=json_lines task.path=data.jsonl

## Fields of data.jsonl

- `prompt`: the problem in the template that asks for a last line "Answer: ..."; `problem`: the problem alone
- `answer`: the integer
- `original_problem`, `original_answer`: what it was made from
- `kind`, `form`, `values`: how the original answer was read; no form where it was an integer
- `verification`: `algebra` or `solutions`; `right` of `solutions` attempts gave the integer
- `reason`: `kept` or `transformed`; `id`: a hash of the original; `stage`: where it ended

## What became of the rows

{_table(("stage", "reason", "rows"), counts(outcomes))}

{_table(("answer's kind", "rows", "in the data set"), kinds(outcomes))}

## Made with

{made}
"""


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [head, ["---" if number < len(head) else "---:" for number in range(1, len(head) + 1)]]
    cells = [[f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in [*lines, *cells])


def _size_category(rows: int) -> str:
    """The hub's names."""
    steps = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"))
    return next((name for limit, name in steps if rows < limit), "n>1M")
