"""Make a data set whose answers are integers from problems with answers of any form, as the paper did.

    python -m rltoolkit.transform_dataset input=math.jsonl output=integers model=endpoint \\
        model.base_url=http://localhost:8000/v1 model.name=NAME
    python -m rltoolkit.transform_dataset input=math.jsonl output=integers model=hf model.name_or_path=DIR
    python -m rltoolkit.transform_dataset input=math.jsonl output=integers dry_run=true

Integer answers are kept. For any other the model rewrites the question to ask for the integers of the answer's form: 11 - 2 sqrt(6)
has the form k - m sqrt(n), and k + m + n = 19. It then solves each new problem several times to check it. What fails is
rejected with its reason. The same command goes on where the last one stopped. The folder ``output`` holds data.jsonl, which trains with
task=json_lines task.path=output/data.jsonl, and its data set card.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rltoolkit.command_line import prepare, report_errors, say

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from rltoolkit.transform.algebra import Algebra
    from rltoolkit.transform.answer_form import Form
    from rltoolkit.transform.journal import Journal
    from rltoolkit.transform.language_model import LanguageModel
    from rltoolkit.transform.stages import Outcome, Problem
    from rltoolkit.transform.transformation import Settings, Table

UNSTAMPED = (
    "input",
    "output",
    "concurrency",
    "limit",
    "dry_run",
    "price_in",
    "price_out",
    "base_url",
    "api_key_variable",
    "timeout",
    "max_retries",
)
"""Keys that may change before the same command goes on: they decide how rows are made, not which."""


def main() -> None:
    """Command line."""
    sys.argv[1:] = prepare(sys.argv[1:])
    with report_errors(_keys):
        if {"-h", "--help"} & set(sys.argv):
            print(__doc__ + "\nEvery key, with its value: python -m rltoolkit.transform_dataset --cfg job")
            return
        import hydra

        _publish()
        composed: list[DictConfig] = []  # none where Hydra was asked for something else
        hydra.main(version_base=None, config_path="pkg://rltoolkit.conf", config_name="transform")(composed.append)()
        for one in composed:
            transform_dataset(one)


def transform_dataset(composed: DictConfig) -> None:
    """Read, estimate, transform, write. Raises ConfigError, or RunFailed where the model does not answer."""
    from rltoolkit.errors import ConfigError, RunFailed
    from rltoolkit.transform.algebra import Algebra
    from rltoolkit.transform.transformation import open_journal, read_table, settle

    settings, model, engine = _read(composed)
    table, algebra = read_table(settings), Algebra()
    if settings.dry_run:
        _say_plan(
            table, _with_forms([row for row, outcome in table.read_answers().items() if outcome is None], algebra), settings
        )
        return
    if model is None:
        raise ConfigError("model must be given: endpoint, or a model of the toolkit; dry_run=true needs none")
    stamp = {"model": _stamped(model), **_stamped(vars(settings) | {"prompts": vars(settings.prompts)})}
    journal = open_journal(settings, stamp)
    try:
        todo = _with_forms(settle(table, journal), algebra)
        _say_plan(table, todo, settings)
        left_out = asyncio.run(_transform(todo, settings, algebra, journal, model, engine)) if todo else 0
        if left_out:
            raise RunFailed(f"the model did not answer for {left_out} rows; the same command tries them again")
        _write(table, journal, settings, {"input": settings.input, **stamp})
    finally:
        journal.close()


def load(*overrides: str) -> DictConfig:
    """What ``python -m rltoolkit.transform_dataset OVERRIDES`` is given. Raises HydraException for an unknown key, option or type."""
    from hydra import compose, initialize_config_module

    _publish()
    with initialize_config_module("rltoolkit.conf", version_base=None):
        return compose("transform", overrides=list(overrides))


def _publish() -> None:
    """Store the schema and the models as Hydra options."""
    import dataclasses

    from hydra.core.config_store import ConfigStore

    from rltoolkit.run import compose
    from rltoolkit.transform.language_model import Endpoint
    from rltoolkit.transform.transformation import Settings

    compose.publish()
    choices = [(kind, Any, dataclasses.field(default=None)) for kind in ("model", "rollout_engine")]
    schema = dataclasses.make_dataclass("TransformSchema", choices, bases=(Settings,), kw_only=True)
    ConfigStore.instance().store(name="transform_schema", node=schema)
    ConfigStore.instance().store(group="model", name="endpoint", node=compose.config_node(Endpoint), package="model")


def _keys() -> list[str]:
    """Every key that may be given, those of the models left out."""
    from dataclasses import fields

    from rltoolkit.transform.language_model import Endpoint
    from rltoolkit.transform.stages import Prompts
    from rltoolkit.transform.transformation import Settings

    sections = (("", Settings), ("prompts.", Prompts), ("model.", Endpoint))
    return [prefix + field.name for prefix, section in sections for field in fields(section)] + ["model", "rollout_engine"]


def _read(composed: DictConfig) -> tuple[Settings, dict[str, Any] | None, dict[str, Any]]:
    """The settings, and the nodes of model and engine. Raises ConfigError for what is missing or out of range."""
    from omegaconf import OmegaConf

    from rltoolkit.errors import ConfigError
    from rltoolkit.transform.stages import Prompts
    from rltoolkit.transform.transformation import Settings

    dry = bool(composed.dry_run)
    missing = [key for key in sorted(OmegaConf.missing_keys(composed)) if not (dry and key == "output")]
    if missing:
        raise ConfigError(f"{missing[0]} must be given")
    values: Any = OmegaConf.to_container(composed, resolve=True, throw_on_missing=False)
    model, engine = values.pop("model"), values.pop("rollout_engine")
    try:
        return Settings(**{**values, "prompts": Prompts(**values["prompts"])}), model, engine
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _stamped(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key not in UNSTAMPED}


def _with_forms(rows: Sequence[Problem], algebra: Algebra) -> list[tuple[Problem, Form | None]]:
    from rich.progress import Progress

    with Progress(transient=True) as bar:
        task = bar.add_task("reading answers", total=len({row.answer for row in rows}))
        forms = algebra.forms([row.answer for row in rows], lambda done: bar.update(task, completed=done))
    return list(zip(rows, forms, strict=True))


def _say_plan(table: Table, todo: Sequence[tuple[Problem, Form | None]], settings: Settings) -> None:
    """What there is to do and what it will cost."""
    from rltoolkit.transform.report import estimate

    unknown = sum(form is None for _, form in todo)
    say(
        f"{settings.input}: {len(table.rows):,} different rows, {table.repeated:,} repeated; {len(todo):,} for the model to rewrite, "
        f"{unknown:,} of them of a form that it has to name"
    )
    cost = estimate(
        todo, settings.prompts, solutions=settings.solutions, attempts=settings.attempts, max_new_tokens=settings.max_new_tokens
    )
    say(f"to come: {cost.line()}")
    if settings.price_in is not None and settings.price_out is not None:
        price = cost.price(settings.price_in, settings.price_out)
        say(f"that costs up to {price:,.2f} at {settings.price_in:g} and {settings.price_out:g} for a million tokens in and out")


async def _transform(
    todo: Sequence[tuple[Problem, Form | None]],
    settings: Settings,
    algebra: Algebra,
    journal: Journal,
    model_node: dict[str, Any],
    engine_node: dict[str, Any],
) -> int:
    """Returns the number of rows that the model did not answer."""
    from collections import Counter

    from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

    from rltoolkit.transform.stages import Stages
    from rltoolkit.transform.transformation import transform

    model = _connect(model_node, engine_node, settings)
    stages = Stages(
        model, algebra, settings.prompts, solutions=settings.solutions, required=settings.required,
        attempts=settings.attempts, seed=settings.seed,
    )  # fmt: skip
    done = Counter[bool]()
    try:
        with Progress(*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn(), transient=True) as bar:
            task = bar.add_task("rows", total=len(todo))

            def show(outcome: Outcome) -> None:
                done[outcome.accepted] += 1
                bar.update(task, advance=1, description=f"{done[True]} transformed, {done[False]} rejected")

            return await transform(todo, stages, journal, settings.concurrency, show)
    finally:
        await model.close()


def _connect(model_node: dict[str, Any], engine_node: dict[str, Any], settings: Settings) -> LanguageModel:
    """The endpoint, or an engine on a model of the toolkit. Raises ConfigError where the model cannot be had."""
    from hydra.utils import instantiate

    from rltoolkit.errors import ConfigError
    from rltoolkit.transform.engine_model import EngineModel
    from rltoolkit.transform.language_model import Endpoint

    try:
        source = instantiate(model_node, _convert_="all")
        if isinstance(source, Endpoint):
            return source.connect(settings.sampling, settings.concurrency)
        return EngineModel(
            instantiate(engine_node, _convert_="all"), Path(source(settings.seed)), chat=source.chat, sampling=settings.sampling,
            max_prompt_tokens=settings.max_prompt_tokens,
        )  # fmt: skip
    except (FileNotFoundError, ModuleNotFoundError, ValueError) as error:
        raise ConfigError(str(error)) from error


def _write(table: Table, journal: Journal, settings: Settings, made_with: dict[str, object]) -> None:
    """The new data set and its card, each in full or not at all, and what became of the rows."""
    from rich.console import Console
    from rich.table import Table as Grid

    from rltoolkit.transform.report import card, counts
    from rltoolkit.transform.transformation import data_rows

    folder, outcomes = Path(settings.output), [journal.outcomes[row.id] for row in table.rows]
    rows = data_rows(table, journal, settings.template)
    _replace(folder / "data.jsonl", "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    _replace(folder / "README.md", card(outcomes, table.repeated, made_with))
    grid = Grid("stage", "reason", "rows")
    for stage, reason, number in counts(outcomes):
        grid.add_row(stage, reason, f"{number:,}")
    Console().print(grid)
    say(f"{folder / 'data.jsonl'}: {len(rows):,} problems of {len(outcomes):,}")


def _replace(path: Path, text: str) -> None:
    scratch = path.with_suffix(".new")
    scratch.write_text(text, encoding="utf-8")
    os.replace(scratch, path)


if __name__ == "__main__":
    main()
