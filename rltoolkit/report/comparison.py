"""A sweep in numbers: what each row reaches, how far above the others it lies, how fast and at what cost.

Rows are compared seed by seed. Two axes are fair for different reasons: equal optimizer steps (the paper's), and equal generated
tokens, what rejected groups cost included. Areas end, and budgets lie, where the shortest run of any row ends.

Runs that finished count; in a row where none has yet, those that are going, but not in a comparison. A failed run counts nowhere.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from rltoolkit.report.rows import BLOCKS, NAIVE, ROWS, title
from rltoolkit.report.runs import Run, column, last
from rltoolkit.report.statistics import (
    Interval,
    PairedDifference,
    first_reach,
    height_at,
    holm,
    mean_height,
    mean_interval,
    paired_difference,
)

STEPS, TOKENS, ACCURACY = "optimizer_step", "generated_tokens_total", "avg_at_k"


class Difference(NamedTuple):
    """A paired difference of final accuracies, its p corrected for the comparisons of its block."""

    difference: PairedDifference
    p: float


class Reach(NamedTuple):
    """When seeds get to an accuracy: the median, and how many of them do. ``inf`` where less than half do, nan without a target."""

    median: float
    reached: int
    seeds: int


@dataclass(frozen=True, kw_only=True)
class Shared:
    """What the numbers of all rows refer to."""

    last_step: float
    """optimizer steps that every run has made"""
    budget: float
    """generated tokens that every run has spent"""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row of the table; accuracies in [0, 1]."""

    name: str
    """of the ablation, experiment or folder"""
    title: str
    runs: list[Run]
    """all of them"""
    accuracy: Interval
    """at the last evaluation, over seeds; over problems where there is one seed"""
    from_before: Difference | None
    """to the row before, or to full DAPO"""
    from_naive: Difference | None
    area_by_steps: Interval
    """mean accuracy from the start to the last step"""
    area_by_tokens: Interval
    """mean accuracy from the start to the budget"""
    steps_to_naive: Reach
    """until the same seed's final accuracy under naive GRPO"""
    tokens_to_naive: Reach
    at_budget: Interval
    truncated: float
    response_length: float
    tokens: float
    seconds: float


def counted(runs: list[Run]) -> list[Run]:
    """The runs of one row that its numbers are taken from."""
    return [run for run in runs if run.status == "finished"] or [run for run in runs if run.status == "unfinished"]


def compare(groups: dict[str, list[Run]]) -> tuple[list[Row], Shared]:
    """The rows of ``groups`` (label -> runs), in their order; differences are between the rows whose label is a known name."""
    shared = _shared([run for runs in groups.values() for run in counted(runs)])
    finals = {label: _finals(runs) for label, runs in groups.items()}
    before = _differences(finals, {name: known.before for name, known in ROWS.items()})
    naive = _differences(finals, {name: NAIVE for name in ROWS if name != NAIVE})
    targets = dict.fromkeys(ROWS, finals.get(NAIVE, {}))
    rows = [
        _row(label, runs, targets.get(label, {}), shared, before.get(label), naive.get(label)) for label, runs in groups.items()
    ]
    return rows, shared


def _shared(runs: list[Run]) -> Shared:
    finished = [run for run in runs if run.status == "finished"] or runs

    def end(name: str) -> float:
        ends = [last(run.evaluations, name) for run in finished]
        return min((each for each in ends if math.isfinite(each)), default=math.nan)

    return Shared(last_step=end(STEPS), budget=end(TOKENS))


def _finals(runs: list[Run]) -> dict[str, float]:
    """The last accuracy of each seed that has come to its end."""
    finals = {run.seed: last(run.evaluations, ACCURACY) for run in runs if run.status == "finished"}
    return {seed: value for seed, value in finals.items() if math.isfinite(value)}


def _differences(finals: dict[str, dict[str, float]], others: dict[str, str | None]) -> dict[str, Difference]:
    """Each row against its other one, over the seeds that both have; p corrected within each block."""
    found: dict[str, Difference] = {}
    for block in BLOCKS:
        pairs: dict[str, PairedDifference] = {}
        for name in block:
            ours, theirs = finals.get(name, {}), finals.get(others.get(name) or "", {})
            if seeds := [seed for seed in ours if seed in theirs]:
                pairs[name] = paired_difference([ours[seed] for seed in seeds], [theirs[seed] for seed in seeds])
        corrected = holm([pair.p for pair in pairs.values()])
        found |= {name: Difference(pair, p) for (name, pair), p in zip(pairs.items(), corrected, strict=True)}
    return found


def _row(
    label: str,
    runs: list[Run],
    targets: dict[str, float],
    shared: Shared,
    from_before: Difference | None,
    from_naive: Difference | None,
) -> Row:
    alive = counted(runs)

    def mean(name: str) -> float:
        values = np.array([last(run.evaluations, name) for run in alive])
        return float(values[np.isfinite(values)].mean()) if np.isfinite(values).any() else math.nan

    return Row(
        name=runs[0].shared.name if runs else label,
        title=runs[0].title if runs else title(label),
        runs=runs,
        accuracy=_accuracy(alive),
        from_before=from_before,
        from_naive=from_naive,
        area_by_steps=_over_seeds([mean_height(*_curve(run, STEPS), shared.last_step) for run in alive]),
        area_by_tokens=_over_seeds([mean_height(*_curve(run, TOKENS), shared.budget) for run in alive]),
        steps_to_naive=_reach(alive, STEPS, targets),
        tokens_to_naive=_reach(alive, TOKENS, targets),
        at_budget=_over_seeds([height_at(*_curve(run, TOKENS), shared.budget) for run in alive]),
        truncated=mean("truncated"),
        response_length=mean("response_length"),
        tokens=mean(TOKENS),
        seconds=mean("seconds"),
    )


def _curve(run: Run, x: str) -> tuple[np.ndarray, np.ndarray]:
    return column(run.evaluations, x), column(run.evaluations, ACCURACY)


def _accuracy(runs: list[Run]) -> Interval:
    runs = [run for run in runs if math.isfinite(last(run.evaluations, ACCURACY))]
    if len(runs) == 1:
        value, low, high = (last(runs[0].evaluations, f"{ACCURACY}{end}") for end in ("", "_low", "_high"))
        return Interval(value, low, high)
    return mean_interval([last(run.evaluations, ACCURACY) for run in runs])


def _over_seeds(values: list[float]) -> Interval:
    return mean_interval([value for value in values if math.isfinite(value)])


def _reach(runs: list[Run], x: str, targets: dict[str, float]) -> Reach:
    found = [first_reach(*_curve(run, x), targets[run.seed]) for run in runs if run.seed in targets]
    reached = [value for value in found if math.isfinite(value)]
    if not found:
        return Reach(math.nan, 0, 0)
    median = float(np.median([*reached, *[math.inf] * (len(found) - len(reached))]))
    return Reach(median, len(reached), len(found))
