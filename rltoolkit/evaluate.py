"""Evaluate a checkpoint or a model on held-out problems.

    python -m rltoolkit.evaluate runs/dapo_ablation/naive_grpo/seed_0            # a run: its newest checkpoint
    python -m rltoolkit.evaluate runs/.../checkpoints/step_000256 evaluation.k=32
    python -m rltoolkit.evaluate model=hf model.name_or_path=DIR task=gsm8k task.path=FILE

A checkpoint is evaluated with the configuration of its run, changed by the overrides given. ``--output FILE`` also writes the
result, protocol included, as JSON.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from rltoolkit.__main__ import check_choices, report_errors  # first: it quiets what the imports below bring


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        "python -m rltoolkit.evaluate", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("target", nargs="?", help="a run's folder or one of its checkpoints; without it the configured model")
    parser.add_argument("--output", type=Path, help="write the result as JSON")
    arguments, overrides = parser.parse_known_args()
    if arguments.target and "=" in arguments.target:
        overrides, arguments.target = [arguments.target, *overrides], None
    with report_errors():
        evaluate_target(Path(arguments.target) if arguments.target else None, overrides, arguments.output)


def evaluate_target(target: Path | None, overrides: list[str], output: Path | None) -> None:
    """Compose, load, evaluate, print. Raises ConfigError for a target that is no run and no checkpoint."""
    from hydra import compose as hydra_compose
    from hydra import initialize_config_module
    from rich.console import Console
    from rich.progress import Progress

    from rltoolkit.export import export
    from rltoolkit.policy.loading import encode, load_tokenizer
    from rltoolkit.run import compose
    from rltoolkit.run.config import ConfigError
    from rltoolkit.run.folder import read_run
    from rltoolkit.run.plan import validate
    from rltoolkit.training.checkpoints import newest_checkpoint
    from rltoolkit.training.parts import load_problems, start_engine
    from rltoolkit.training.run import announce_evaluation, evaluate_policy

    check_choices(overrides)
    compose.publish()
    checkpoint = None
    if target is not None:
        checkpoint = newest_checkpoint(target) or target
        run = read_run(checkpoint.parent.parent)
        if not run:
            raise ConfigError(f"{target}: neither a run's folder with a checkpoint nor a checkpoint of a run")
        overrides = [override for override in run["overrides"] if not override.startswith("hydra")] + overrides
    with initialize_config_module("rltoolkit.conf", version_base=None):
        cfg = hydra_compose("config", overrides=overrides)
    components, _ = validate(cfg)
    _, held_out = load_problems(cfg, components)
    with tempfile.TemporaryDirectory() as folder:
        model_path = export(checkpoint, Path(folder) / "model") if checkpoint is not None else components.model(cfg.seed)
        tokenizer = load_tokenizer(model_path)
        engine = start_engine(cfg, components, model_path)
        try:
            with Progress(transient=True) as progress:
                task = progress.add_task("problems", total=len(held_out))
                result = evaluate_policy(
                    cfg,
                    components,
                    engine,
                    lambda problem: encode(tokenizer, problem.messages, components.model.chat),
                    held_out,
                    progress=lambda done, total: progress.update(task, completed=done),
                )
        finally:
            engine.close()
    announce_evaluation(Console(), str(checkpoint or components.model.name), result)
    if output is not None:
        stamped = {"checkpoint": str(checkpoint) if checkpoint else None, "model": repr(components.model), **result.row()}
        output.write_text(json.dumps(stamped, indent=2))


if __name__ == "__main__":
    main()
