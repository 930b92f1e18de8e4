"""What a command evaluates: runs, checkpoints, Hugging Face directories or registered models, each with its configuration."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rltoolkit import registry
from rltoolkit.collector.prompt_stream import EncodedProblem
from rltoolkit.component import described, label, name_of
from rltoolkit.errors import ConfigError
from rltoolkit.export import export
from rltoolkit.reward_function import RewardFunction
from rltoolkit.run import compose
from rltoolkit.run.folder import newest_checkpoint, read_run
from rltoolkit.run.run import Run
from rltoolkit.task.base import Task
from rltoolkit.training.evaluator import EVALUATION_SEED
from rltoolkit.training.loading import load_model

ALIKE = ("task", "k", "temperature", "top_p", "max_new_tokens", "max_prompt_tokens", "reward_function", "seed")
"""What models have to be asked alike, to be compared."""


class Target(NamedTuple):
    """One model."""

    name: str
    """in tables, and of its folder"""
    run: Run
    """the configuration that it is evaluated with"""
    checkpoint: Path | None
    """None: the configured model"""

    @property
    def task(self) -> Task:
        """What it is evaluated on."""
        (task,) = self.run.components.held_out.values()
        return task

    @property
    def verifier(self) -> RewardFunction:
        """Who judges it."""
        (verifier,) = self.run.verifiers.values()
        return verifier

    def model_path(self, scratch: Path) -> Path:
        """Its Hugging Face directory; a checkpoint is exported into ``scratch``. Raises ConfigError where it cannot be had."""
        return export(self.checkpoint, scratch / "model") if self.checkpoint is not None else load_model(self.run)

    def protocol(self) -> dict[str, Any]:
        """How it is asked, the problems and the model left out."""
        config = self.run.config
        return {
            "task": described(self.task),
            "k": config.evaluation.k,
            "temperature": config.evaluation.temperature,
            "top_p": config.evaluation.top_p,
            "max_new_tokens": config.evaluation.max_new_tokens,
            "max_prompt_tokens": config.sampling.max_prompt_tokens,
            "reward_function": described(self.verifier),
            "seed": EVALUATION_SEED,
        }

    def asked(self, problems: Sequence[EncodedProblem], model_path: Path) -> dict[str, Any]:
        """Everything that decides its responses and their verdicts."""
        content = repr([(problem.index, problem.tokens, problem.answer) for problem in problems])
        return {
            "model": str(self.checkpoint) if self.checkpoint is not None else described(self.run.components.model),
            "weights_sha256": weights_hash(model_path),
            **self.protocol(),
            "problems": len(problems),
            "problems_sha256": hashlib.sha256(content.encode()).hexdigest(),
            "rollout_engine": described(self.run.components.rollout_engine),
        }


def resolve(words: Sequence[str], overrides: Sequence[str]) -> list[Target]:
    """The models that a command names, the configured one where it names none; nothing loads.

    Raises:
        ConfigError: a word that names no model, a configuration that cannot run, or models that would be asked differently.
    """
    targets: list[Target] = []
    for word in words or [""]:
        checkpoint, before = _read(word)
        run = _configured(before, overrides)
        name = _name(word, checkpoint, run)
        taken = sum(re.fullmatch(rf"{re.escape(name)}(_\d+)?", each.name) is not None for each in targets)
        targets.append(Target(f"{name}_{taken + 1}" if taken else name, run, checkpoint))
    _require_alike(targets)
    return targets


def weights_hash(model_path: Path) -> str:
    """SHA-256 of a model's weight files, in the order of their names."""
    digest = hashlib.sha256()
    for file in sorted([*model_path.glob("*.safetensors"), *model_path.glob("*.bin")]):
        with file.open("rb") as content:
            digest.update(hashlib.file_digest(content, "sha256").digest())
    return digest.hexdigest()


def _read(word: str) -> tuple[Path | None, list[str]]:
    """A word's checkpoint, and the overrides that it comes with."""
    path = Path(word)
    if not word:
        return None, []
    if word in registry.names("model"):
        return None, [f"model={word}"]
    if (path / "config.json").is_file():
        return None, ["model=hf", f"model.name_or_path={compose.quoted(word)}"]
    checkpoint = newest_checkpoint(path) or path
    record = read_run(checkpoint.parent.parent)
    if not record or not (checkpoint / ".metadata").is_file():
        raise ConfigError(
            f"{word}: no run's folder with a checkpoint, no checkpoint of a run, no Hugging Face directory (config.json) and no "
            f"registered model ({', '.join(registry.names('model'))})"
        )
    return checkpoint, record["overrides"]


def _configured(before: Sequence[str], given: Sequence[str]) -> Run:
    """What was given before, the protocol of the task where it has one, and what is given now; the later counts."""
    kept = _still_valid(before, given)
    run = _loaded([*kept, *given], given)
    tasks = run.components.held_out
    if len(tasks) > 1:
        raise ConfigError(
            f"eval_task=[{','.join(tasks)}]: one at a time is evaluated; say which, for instance task={list(tasks)[-1]}"
        )
    (task,) = tasks.values()
    protocol = getattr(task, "protocol", None)
    if protocol is None:
        return run
    asked = protocol.overrides()
    return _loaded([*_still_valid(kept, asked), *_still_valid(asked, given), *given], given)


def _loaded(overrides: Sequence[str], given: Sequence[str]) -> Run:
    """A task that is given is what to evaluate on, and not another one that the run or its preset evaluates on."""
    run, words = compose.load(*overrides), [override.partition("=")[0] for override in given]
    return run.replace(eval_task=()) if "task" in words and "eval_task" not in words else run


def _still_valid(before: Sequence[str], overrides: Sequence[str]) -> list[str]:
    """The overrides that go with later ones: those of a component that is replaced do not, nor do Hydra's own."""
    chosen = {override.partition("=")[0].lstrip("+") for override in overrides if "=" in override}
    if "task" in chosen:
        chosen |= {"eval_task", "evaluation.verifiers"}
    replaced = tuple(f"{group}." for group in chosen if "." not in group)
    return [
        override
        for override in before
        if not override.lstrip("+~").startswith(("hydra", *replaced)) and override.partition("=")[0].lstrip("+") not in chosen
    ]


def _name(word: str, checkpoint: Path | None, run: Run) -> str:
    if checkpoint is not None:
        folder = checkpoint.absolute().parent.parent
        name = f"{folder.parent.name}-{folder.name}"  # runs of a sweep share their last part, seed_0
        return f"{name}-{checkpoint.name}" if Path(word).name == checkpoint.name else name
    model = run.components.model
    if name_of(model) != "hf":
        return name_of(model)
    return Path(getattr(model, "name_or_path", word)).name or label(model)


def _require_alike(targets: Sequence[Target]) -> None:
    first, *others = targets
    for other in others:
        ours, theirs = first.protocol(), other.protocol()
        for field in ALIKE:
            if ours[field] != theirs[field]:
                raise ConfigError(
                    f"{first.name} and {other.name} would be asked differently: {field} is {ours[field]} and {theirs[field]}; "
                    "give it as an override, and it holds for all of them"
                )
