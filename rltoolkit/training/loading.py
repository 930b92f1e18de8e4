"""What a run is made of, from its configuration: prompts, models, and the engine."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from rltoolkit.collector.prompt_stream import EncodedProblem, encode_problems
from rltoolkit.component import key, label
from rltoolkit.errors import ConfigError
from rltoolkit.model.hf import ModelMissing
from rltoolkit.policy.backbone import recompute_layers
from rltoolkit.policy.compiled import compile_layers
from rltoolkit.policy.loading import best_attention, causal_lm_config, context_length, load_policy, load_tokenizer
from rltoolkit.policy.lora import add_adapters
from rltoolkit.policy.policy import PolicyModel
from rltoolkit.policy.sharded_loading import load_without_weights
from rltoolkit.reward_function import RewardFunction
from rltoolkit.rollout_engine import RolloutEngine
from rltoolkit.run.config import TrainerConfig
from rltoolkit.run.process import is_first_process
from rltoolkit.run.run import Run
from rltoolkit.task.base import Problem, Split, Task

log = logging.getLogger(__name__)


class HeldOut(NamedTuple):
    """What one task gives to evaluations."""

    task: str
    problems: list[EncodedProblem]
    verifier: RewardFunction


def load_problems(run: Run, task: Task, split: Split) -> list[Problem]:
    """The problems of one split, before any model loads. Raises ConfigError."""
    try:
        problems = list(task(split, run.config.seed))
    except (FileNotFoundError, ValueError) as error:
        raise ConfigError(str(error)) from error
    if not problems:
        raise ConfigError(f"{label(task)}: no {'training' if split == 'train' else 'held-out'} problems")
    return problems if split == "train" else problems[: run.config.evaluation.problems]


def load_model(run: Run) -> Path:
    """The model's directory, made or fetched if it is not there yet. Raises ConfigError where it cannot be had."""
    try:
        return Path(run.components.model(run.config.seed))
    except (FileNotFoundError, ModuleNotFoundError, ValueError) as error:
        raise ConfigError(str(error)) from error


def encode(run: Run, problems: Sequence[Problem], model_path: Path, what: str) -> list[EncodedProblem]:
    """Prompts as token ids; those that no run can sample are left out and counted. Raises ConfigError if none is left."""
    try:
        return encode_problems(
            problems, load_tokenizer(model_path), chat=run.components.model.chat,
            max_prompt_tokens=run.config.sampling.max_prompt_tokens, what=what,
        )  # fmt: skip
    except ValueError as error:
        raise ConfigError(str(error)) from error


def load_trained_policy(run: Run, model_path: Path) -> PolicyModel:
    """The model, with adapters where ``lora`` asks for them. Raises ConfigError for an architecture or layers that do not fit."""
    try:
        policy = _load(run, model_path, "float32")
        add_adapters(policy.causal_lm, run.config.lora, run.config.seed)
        if run.config.trainer.recompute == "layer":
            recompute_layers(policy.causal_lm)
        if run.config.trainer.compile:
            compile_layers(policy.causal_lm)
    except ValueError as error:
        raise ConfigError(f"{label(run.components.model)}: {error}") from error
    return policy


def load_reference(run: Run, model_path: Path) -> PolicyModel:
    """The policy that training starts from. It computes as the trained one does, so that at the start their log-probs are equal."""
    return _load(run, model_path, run.config.trainer.compute_dtype)


def fetch_teacher(run: Run) -> Path | None:
    """The directory of the model that the advantage estimator asks, None where it asks none. Raises ConfigError."""
    if run.teacher is None:
        return None
    try:
        return run.teacher(run.config.seed)
    except ModelMissing as error:
        raise ConfigError(f"{_teacher_key(run)}: {error.why} ({label(run.components.advantage_estimator)})") from error


def load_teacher(run: Run, teacher_path: Path, model_path: Path) -> PolicyModel:
    """The model that the advantage estimator asks about every token.

    Raises ConfigError where it knows other tokens than the trained model, has no room for the longest row, or does not load.
    """
    if load_tokenizer(teacher_path).get_vocab() != load_tokenizer(model_path).get_vocab():
        raise ConfigError(
            f"{_teacher_key(run)}: its tokens are not those of {label(run.components.model)}, so it cannot judge them"
        )
    try:
        context = context_length(causal_lm_config(teacher_path))
        model = _load(run, teacher_path, run.config.trainer.compute_dtype)
    except ValueError as error:
        raise ConfigError(f"{_teacher_key(run)}: {error}") from error
    longest = run.config.sampling.max_prompt_tokens + run.config.sampling.max_new_tokens
    if context is not None and longest > context:
        raise ConfigError(
            f"{_teacher_key(run)}: sampling.max_prompt_tokens + sampling.max_new_tokens = {longest} tokens are longer than its "
            f"context of {context} tokens"
        )
    return model


def _teacher_key(run: Run) -> str:
    estimator: Any = run.components.advantage_estimator
    return f"{key(estimator, 'teacher')}={estimator.teacher}"


def _load(run: Run, model_path: Path, dtype: str) -> PolicyModel:
    policy = _read(run, model_path, dtype)
    policy.float32_head = run.config.trainer.logits_are_wider
    return policy


def _read(run: Run, model_path: Path, dtype: str) -> PolicyModel:
    """Several ranks read their parts of the weights later, where the files allow it."""
    implementation = attention(run.config.trainer)
    if run.config.trainer.world_size > 1:
        policy = load_without_weights(model_path, implementation, dtype)
        if policy is not None:
            return policy
        if is_first_process():
            log.warning(
                "%s: its files hold the weights otherwise than the model does, so every process loads all of them", model_path
            )
    return load_policy(model_path, implementation, dtype)


def start_engine(run: Run, model_path: Path) -> RolloutEngine:
    """An engine with room for the longest training or evaluation row. To servers, weights go through the run's ``weight_transfer``."""
    spec = run.components.rollout_engine
    transfer = {"weight_transfer": run.components.weight_transfer} if getattr(spec, "takes_weight_transfer", False) else {}
    return spec(model_path=model_path, max_length=run.longest_row, seed=run.config.seed, **transfer)


def attention(settings: TrainerConfig) -> str:
    """The attention to train with, by transformers' name."""
    return best_attention("cpu" if on_cpu(settings) else "cuda", settings.compute_dtype)


def on_cpu(settings: TrainerConfig) -> bool:
    """Whether training happens on the CPU."""
    return settings.accelerator == "cpu" or (settings.accelerator == "auto" and not torch.cuda.is_available())


def save_model_files(model_path: Path, folder: Path) -> None:
    """Put the model's config and tokenizer beside the checkpoints, so that a run's folder is enough to evaluate or export it."""
    target = folder / "model"
    target.mkdir(parents=True, exist_ok=True)
    for source in model_path.iterdir():
        if source.is_file() and source.suffix in {".json", ".txt", ".model", ".jinja"} and "index" not in source.name:
            (target / source.name).write_bytes(source.read_bytes())
