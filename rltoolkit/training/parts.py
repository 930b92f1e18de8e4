"""What a run is made of: problems, models, engine and collector, each from the configuration."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import lightning as L
import torch
from omegaconf import DictConfig, OmegaConf
from tensordict import TensorDict

from rltoolkit.collector import Collector, Refill
from rltoolkit.collector.prompt_stream import EncodedProblem, PromptStream
from rltoolkit.policy.loading import best_attention, load_policy
from rltoolkit.policy.lora import add_adapters
from rltoolkit.policy.policy import PolicyModel
from rltoolkit.rollout_engine.base import RolloutEngine, Sampling
from rltoolkit.run.compose import Components
from rltoolkit.run.config import ConfigError, TrainerConfig
from rltoolkit.task.base import Problem
from rltoolkit.training.progress import ProgressBar

log = logging.getLogger(__name__)


def load_problems(cfg: DictConfig, components: Components) -> tuple[list[Problem], list[Problem]]:
    """The training problems and the held-out ones, before any model loads. Raises ConfigError."""
    try:
        train_problems = list(components.task("train", cfg.seed))
        held_out = list((components.eval_task or components.task)("eval", cfg.seed))[: cfg.evaluation.problems]
    except (FileNotFoundError, ValueError) as error:
        raise ConfigError(str(error)) from error
    for name, split in (("training", train_problems), ("held-out", held_out)):
        if not split:
            raise ConfigError(f"task={components.task.name}: no {name} problems")
    return train_problems, held_out


def load_trained_policy(cfg: DictConfig, components: Components, model_path: Path) -> PolicyModel:
    """The model, with adapters where ``model.lora`` asks for them. Raises ConfigError for layers that it does not have."""
    policy = load_policy(model_path, attention(cfg.trainer))
    try:
        add_adapters(policy.causal_lm, components.lora, cfg.seed)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    return policy


def load_reference(cfg: DictConfig, model_path: Path) -> PolicyModel:
    """The policy that training starts from. It computes as the trained one does, so that at the start their log-probs are equal."""
    return load_policy(model_path, attention(cfg.trainer), getattr(torch, cfg.trainer.compute_dtype))


def encode_problems(
    problems: list[Problem], encode_problem: Callable[[Problem], list[int]], max_prompt_tokens: int
) -> list[EncodedProblem]:
    """Token ids of the prompts; those that are too long are left out and counted. Raises ConfigError if none is left."""
    encoded = [EncodedProblem(tokens=encode_problem(each), answer=each.answer, index=row) for row, each in enumerate(problems)]
    kept = [problem for problem in encoded if len(problem.tokens) <= max_prompt_tokens]
    if not kept:
        shortest = min(len(problem.tokens) for problem in encoded)
        raise ConfigError(
            f"sampling.max_prompt_tokens={max_prompt_tokens}: every prompt is longer, the shortest has {shortest} tokens"
        )
    if len(kept) < len(encoded):
        log.info(
            "%d of %d prompts are longer than sampling.max_prompt_tokens=%d and left out",
            len(encoded) - len(kept), len(encoded), max_prompt_tokens,
        )  # fmt: skip
    return kept


def collector_factory(
    cfg: DictConfig,
    components: Components,
    problems: list[EncodedProblem],
    model_path: Path,
    adjust: Callable[[TensorDict], TensorDict],
    bar: ProgressBar | None,
) -> Callable[[L.Trainer], Collector]:
    """Starts engine and collector; called when the trainer's process group exists, which an engine must not bring up itself."""

    def make(trainer: L.Trainer) -> Collector:
        return Collector(
            engine=start_engine(cfg, components, model_path),
            prompts=PromptStream(problems, components.prompt_sampler, cfg.seed),
            reward_function=components.reward_function,
            reward_shapers=components.reward_shapers,
            sampler_filters=components.sampler_filters,
            advantage_estimator=components.advantage_estimator,
            prompts_per_step=cfg.prompts_per_step,
            group_size=cfg.group_size,
            sampling=training_sampling(cfg),
            refill=cast(Refill, OmegaConf.to_object(cfg.collector)),
            rank=trainer.global_rank,
            world_size=trainer.world_size,
            all_gather=all_gather_objects,
            adjust=adjust,
            on_progress=bar.on_collecting if bar is not None else lambda kept, needed: None,
        )

    return make


def start_engine(cfg: DictConfig, components: Components, model_path: Path) -> RolloutEngine:
    """An engine with room for the longest training or evaluation row."""
    longest = max(cfg.sampling.max_new_tokens, cfg.evaluation.max_new_tokens)
    return components.rollout_engine(model_path=model_path, max_length=cfg.sampling.max_prompt_tokens + longest, seed=cfg.seed)


def training_sampling(cfg: DictConfig) -> Sampling:
    """How training rollouts are drawn."""
    return Sampling(temperature=cfg.sampling.temperature, top_p=cfg.sampling.top_p, max_new_tokens=cfg.sampling.max_new_tokens)


def attention(settings: TrainerConfig) -> str:
    """The attention to train with, by transformers' name."""
    return best_attention("cpu" if on_cpu(settings) else "cuda", settings.compute_dtype)


def on_cpu(settings: TrainerConfig) -> bool:
    """Whether training happens on the CPU."""
    return settings.accelerator == "cpu" or (settings.accelerator == "auto" and not torch.cuda.is_available())


def all_gather_objects(item: Any) -> list[Any]:
    """One object from each rank, in their order."""
    if not torch.distributed.is_initialized() or torch.distributed.get_world_size() == 1:
        return [item]
    items: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(items, item)
    return items
