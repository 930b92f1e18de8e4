"""Evaluate models on held-out problems, side by side.

    python -m rltoolkit.evaluate model=hf model.name_or_path=DIR task=aime_2024  # as the paper does: 32 responses, top-p 0.7
    python -m rltoolkit.evaluate runs/dapo_ablation/naive_grpo/seed_0            # a run: its newest checkpoint
    python -m rltoolkit.evaluate runs/.../checkpoints/step_000256 evaluation.k=32
    python -m rltoolkit.evaluate smollm2_135m DIR runs/... task=math_500         # several; differences are to the first

A target is a run's folder, one of its checkpoints, a Hugging Face directory or a registered model. A checkpoint is evaluated with the
configuration of its run. A benchmark brings its own protocol. Overrides given here come before both. Under torchrun or srun all
ranks share the problems, each with an engine of its own: torchrun --nproc-per-node 8 -m rltoolkit.evaluate ...

``--output DIR`` (else evaluations/TASK) holds evaluation.json and, for each target, samples.jsonl, asked.json and a heat map of
problems by samples. The same command goes on where it was interrupted; on a finished folder it prints the table again.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rltoolkit.command_line import check_choices, prepare, report_errors, say

if TYPE_CHECKING:
    from rltoolkit.evaluations.scores import Scores
    from rltoolkit.evaluations.targets import Target


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        "python -m rltoolkit.evaluate", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--output", type=Path, help="where the results go, and are continued")
    arguments, words = parser.parse_known_args(prepare(sys.argv[1:]))
    overrides = [word for word in words if "=" in word or word.startswith(("-", "+", "~"))]
    with report_errors():
        check_choices(overrides)
        evaluate_targets([word for word in words if word not in overrides], overrides, arguments.output)


def evaluate_targets(words: Sequence[str], overrides: Sequence[str], output: Path | None) -> None:
    """Sample, score, compare, print. Raises ConfigError before anything loads for a target or a configuration that cannot be."""
    from rltoolkit.component import name_of
    from rltoolkit.evaluations.targets import resolve
    from rltoolkit.training import ranks

    ranks.join()
    targets = resolve(words, overrides)
    folder = output or Path("evaluations") / name_of(targets[0].task)
    results = {target.name: _evaluated(target, folder / target.name) for target in targets}
    if ranks.is_first():
        _write(folder, results)
        _print(folder, {name: scores for name, (scores, _) in results.items()})


def _evaluated(target: Target, folder: Path) -> tuple[Scores, dict[str, Any]]:
    """One model's scores, and what it was asked; samples what the folder lacks. All ranks share that, and all know the scores."""
    from rltoolkit.evaluations.samples import SampleFile
    from rltoolkit.training import ranks
    from rltoolkit.training.loading import encode, load_problems

    problems = load_problems(target.run, target.task, "eval")
    with ranks.shared_directory(folder) as scratch:
        model_path = ranks.agree(lambda: target.model_path(scratch))
        held_out = encode(target.run, problems, model_path, "held-out")
        asked = target.asked(held_out, model_path)
        file = ranks.first_before_others(lambda: SampleFile(folder, asked, ranks.share()[0]))
        try:
            _sample(target, held_out, model_path, file)
            ranks.all_gather_objects("done")
        except KeyboardInterrupt:
            say(f"{target.name}: {len(file.groups)} of {len(held_out)} problems are done; the same command goes on with {folder}")
            raise
        finally:
            file.close()
    return ranks.agree(lambda: _scores(target, held_out, file.groups, folder)), asked


def _scores(target: Target, problems: Sequence[Any], groups: Any, folder: Path) -> Scores:
    """What the samples are worth, with their heat map."""
    from rltoolkit.evaluations.heat_map import write_heat_map
    from rltoolkit.evaluations.scores import score
    from rltoolkit.reward_function.base import extractor_of

    k = target.run.config.evaluation.k
    write_heat_map(groups, f"{target.name}\n{len(problems)} problems, {k} samples each", folder)
    difficulties = {problem.index: problem.difficulty for problem in problems}
    return score(groups, difficulties, votes=extractor_of(target.verifier) is not None)


def _sample(target: Target, problems: Sequence[Any], model_path: Path, file: Any) -> None:
    """Start an engine, if anything is left to sample, with a progress bar."""
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, TimeElapsedColumn, TimeRemainingColumn

    from rltoolkit.evaluations.sampling import sample_problems
    from rltoolkit.training import ranks
    from rltoolkit.training.evaluator import EVALUATION_SEED
    from rltoolkit.training.loading import start_engine

    before, (rank, world_size) = len(file.groups), ranks.share()
    if before == len(problems):
        return
    if before:
        say(f"{target.name}: goes on after {before} of {len(problems)} problems")
    engine = start_engine(target.run, model_path)
    settings = target.run.config.evaluation
    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    try:
        with Progress(*columns, transient=True, console=Console(stderr=True), disable=rank > 0) as bar:
            task = bar.add_task(f"{target.name}, problems", total=len(problems), completed=before)
            sample_problems(
                engine, problems, target.verifier, file, k=settings.k, sampling=settings.sampling, seed=EVALUATION_SEED,
                rank=rank, world_size=world_size,
                progress=lambda done: bar.update(task, completed=before + world_size * (done - before)),  # the others are as fast
            )  # fmt: skip
    finally:
        engine.close()


def _write(folder: Path, results: dict[str, tuple[Scores, dict[str, Any]]]) -> None:
    """evaluation.json: every number with what it rests on."""
    from rltoolkit.evaluations.scores import difference_record, differences
    from rltoolkit.run.folder import git_revision, versions

    against_first = [difference_record(each) for each in differences([scores for scores, _ in results.values()])]
    record = {
        "models": {name: {"asked": asked, **scores.record()} for name, (scores, asked) in results.items()},
        "differences_to_the_first": dict(zip(list(results)[1:], against_first, strict=True)),
        "packages": versions(),
        "git_revision": git_revision(),
    }
    (folder / "evaluation.json").write_text(json.dumps(record, indent=2))


def _print(folder: Path, scores: dict[str, Scores]) -> None:
    from rich.console import Console

    from rltoolkit.evaluations.scores import differences
    from rltoolkit.evaluations.table import notes, tables

    console, against_first = Console(), differences(list(scores.values()))
    for table in tables(scores, against_first):
        console.print(table)
    for note in [*notes(against_first, next(iter(scores))), f"{folder}: evaluation.json, samples and heat maps"]:
        console.print(note, highlight=False, markup=False, style="dim")


if __name__ == "__main__":
    main()
