"""Evaluate a checkpoint or a model on held-out problems.

    python -m rltoolkit.evaluate runs/dapo_ablation/naive_grpo/seed_0            # a run: its newest checkpoint
    python -m rltoolkit.evaluate runs/.../checkpoints/step_000256 evaluation.k=32
    python -m rltoolkit.evaluate runs/... task=gsm8k task.path=FILE              # on another task than it was trained on
    python -m rltoolkit.evaluate model=hf model.name_or_path=DIR task=gsm8k task.path=FILE

A checkpoint is evaluated with the configuration of its run, changed by the overrides given. ``--output FILE`` also writes the
result, protocol included, as JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rltoolkit.command_line import check_choices, prepare, report_errors


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        "python -m rltoolkit.evaluate", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("target", nargs="?", help="a run's folder or one of its checkpoints; without it the configured model")
    parser.add_argument("--output", type=Path, help="write the result as JSON")
    arguments, overrides = parser.parse_known_args(prepare(sys.argv[1:]))
    if arguments.target and "=" in arguments.target:
        overrides, arguments.target = [arguments.target, *overrides], None
    with report_errors():
        check_choices(overrides)
        evaluate_target(Path(arguments.target) if arguments.target else None, overrides, arguments.output)


def evaluate_target(target: Path | None, overrides: Sequence[str], output: Path | None) -> None:
    """Load, evaluate, print. Raises ConfigError for a target that is no run and no checkpoint."""
    from rich.console import Console
    from rich.progress import Progress

    from rltoolkit.component import label
    from rltoolkit.errors import ConfigError
    from rltoolkit.evaluation import evaluate
    from rltoolkit.export import export
    from rltoolkit.run import compose
    from rltoolkit.run.folder import newest_checkpoint, read_run
    from rltoolkit.training.evaluator import EVALUATION_SEED
    from rltoolkit.training.loading import encode, load_model, load_problems, start_engine

    checkpoint = None
    if target is not None:
        checkpoint = newest_checkpoint(target) or target
        record = read_run(checkpoint.parent.parent)
        if not record:
            raise ConfigError(f"{target}: neither a run's folder with a checkpoint nor a checkpoint of a run")
        overrides = [*_still_valid(record["overrides"], overrides), *overrides]
    run = compose.load(*overrides)
    problems = load_problems(run, "eval")
    with tempfile.TemporaryDirectory() as folder:
        model_path = export(checkpoint, Path(folder) / "model") if checkpoint is not None else load_model(run)
        held_out = encode(run, problems, model_path, "held-out")
        engine = start_engine(run, model_path)
        try:
            with Progress(transient=True) as bar:
                task = bar.add_task("problems", total=len(held_out))
                result = evaluate(
                    engine,
                    held_out,
                    run.verifier,
                    k=run.config.evaluation.k,
                    sampling=run.config.evaluation.sampling,
                    seed=EVALUATION_SEED,
                    progress=lambda done: bar.update(task, completed=done),
                )
        finally:
            engine.close()
    what = str(checkpoint) if checkpoint else label(run.components.model)
    Console().print(f"held-out, {what}: {result.line()}", highlight=False)
    if output is not None:
        stamped = {"checkpoint": str(checkpoint) if checkpoint else None, "model": repr(run.components.model), **result.row()}
        output.write_text(json.dumps(stamped, indent=2))


def _still_valid(before: Sequence[str], overrides: Sequence[str]) -> list[str]:
    """The overrides of a run that go with new ones: those of a component that is replaced do not, nor do Hydra's own."""
    chosen = {override.partition("=")[0].lstrip("+") for override in overrides if "=" in override}
    replaced = tuple(f"{group}." for group in chosen if "." not in group)
    return [
        override
        for override in before
        if not override.lstrip("+~").startswith(("hydra", *replaced)) and override.partition("=")[0].lstrip("+") not in chosen
    ]


if __name__ == "__main__":
    main()
