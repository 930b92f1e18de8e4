"""What a run is going to do, in numbers, or why it cannot: contradictions between keys are refused before anything loads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig, OmegaConf

from rltoolkit.compose import Components, build
from rltoolkit.config import ConfigError
from rltoolkit.importance_correction import NoCorrection

COMPUTE_DTYPES = {"bfloat16", "float16", "float32"}


@dataclass(frozen=True, kw_only=True)
class StepPlan:
    """Every batch size of a run, derived from P, G and the mini-batch, and what depends on them."""

    responses_per_step: int
    optimizer_steps_per_rollout: int
    rollout_steps: int
    warmup_optimizer_steps: int
    old_log_probs: str
    """trainer, engine, or update: those of the rollout step's single update, which are the same as the trainer's before it"""


def validate(cfg: DictConfig) -> tuple[Components, StepPlan]:
    """Build the components and refuse contradictions between keys, with the numbers in the message. Raises ConfigError."""
    _require_values(cfg)
    components = build(cfg)
    _validate_numbers(cfg)
    _validate_group_size(cfg, components)
    _validate_what_reads_the_reward(components)
    _validate_old_log_probs(cfg, components)
    _validate_lengths(cfg, components)
    return components, step_plan(cfg)


def step_plan(cfg: DictConfig) -> StepPlan:
    """Derive the batch sizes. Raises ConfigError when the mini-batch does not divide P x G."""
    responses = cfg.prompts_per_step * cfg.group_size
    if responses % cfg.mini_batch_size:
        raise ConfigError(
            f"mini_batch_size={cfg.mini_batch_size} must divide prompts_per_step x group_size = "
            f"{cfg.prompts_per_step} x {cfg.group_size} = {responses} responses"
        )
    updates = responses // cfg.mini_batch_size
    optimizer = cfg.optimizer
    if optimizer.warmup_optimizer_steps and optimizer.warmup_rollout_steps:
        raise ConfigError(
            f"optimizer.warmup_optimizer_steps={optimizer.warmup_optimizer_steps} and optimizer.warmup_rollout_steps="
            f"{optimizer.warmup_rollout_steps}: set one of them, the warm-up counts either optimizer or rollout steps"
        )
    old_log_probs = cfg.trainer.old_log_probs
    if old_log_probs == "auto":
        old_log_probs = "trainer" if updates > 1 else "update"
    return StepPlan(
        responses_per_step=responses,
        optimizer_steps_per_rollout=updates,
        rollout_steps=-(-cfg.trainer.max_steps // updates),
        warmup_optimizer_steps=optimizer.warmup_optimizer_steps or optimizer.warmup_rollout_steps * updates,
        old_log_probs=old_log_probs,
    )


def _require_values(cfg: DictConfig) -> None:
    missing = sorted(key for key in OmegaConf.missing_keys(cfg) if not key.startswith("hydra."))
    if missing:
        raise ConfigError(f"{missing[0]} must be given (the preset does not set it)")


def _validate_numbers(cfg: DictConfig) -> None:
    positive = (
        "prompts_per_step", "group_size", "mini_batch_size", "sampling.temperature", "sampling.max_new_tokens",
        "sampling.max_prompt_tokens", "trainer.max_steps", "trainer.devices", "trainer.num_nodes",
        "trainer.micro_batch_tokens", "trainer.checkpoint_every", "trainer.keep_checkpoints", "trainer.max_skipped_steps",
        "collector.max_generation_batches", "evaluation.k", "evaluation.problems", "evaluation.max_new_tokens",
        "evaluation.temperature", "optimizer.gradient_clip", "trainer.sync_tolerance", "verifier_timeout",
    )  # fmt: skip
    for key in positive:
        value = OmegaConf.select(cfg, key)
        if value is not None and not value > 0:
            raise ConfigError(f"{key}={value}: must be greater than 0")
    for key in ("optimizer.learning_rate", "optimizer.weight_decay", "evaluation.every", "seed", "entropy_coefficient"):
        value = OmegaConf.select(cfg, key)
        if not value >= 0:
            raise ConfigError(f"{key}={value}: must be at least 0")
    if not 0 < cfg.evaluation.top_p <= 1:
        raise ConfigError(f"evaluation.top_p={cfg.evaluation.top_p}: must be in (0, 1]")
    if cfg.sampling.top_p != 1:
        raise ConfigError(
            f"sampling.top_p={cfg.sampling.top_p}: must be 1 in training, since with a truncated distribution the ratio "
            "of new to old probabilities is biased; evaluation.top_p is free"
        )
    for key, allowed in (
        ("trainer.compute_dtype", sorted(COMPUTE_DTYPES)),
        ("trainer.accelerator", ["auto", "cpu", "gpu"]),
        ("trainer.old_log_probs", ["auto", "trainer", "engine"]),
    ):
        value = OmegaConf.select(cfg, key)
        if value not in allowed:
            raise ConfigError(f"{key}={value}: must be one of {', '.join(allowed)}")


def _validate_group_size(cfg: DictConfig, components: Components) -> None:
    needing = [components.advantage_estimator, *components.sampler_filters]
    for component in needing:
        smallest = getattr(component, "min_group_size", 1)
        if cfg.group_size < smallest:
            raise ConfigError(
                f"group_size={cfg.group_size}: {component.kind}={component.name} compares the responses to one prompt, "
                f"so group_size must be at least {smallest}"
            )


def _validate_what_reads_the_reward(components: Components) -> None:
    """Refuse whatever changes the reward where the advantages follow from the verdicts alone."""
    estimator = components.advantage_estimator
    if getattr(estimator, "reads_reward", True):
        return
    because = f"{estimator.kind}={estimator.name} reads the verdicts, not the reward, so"
    if components.reward_penalty is not None:
        raise ConfigError(
            f"kl_in_reward=true: {because} the KL would change no advantage; set kl_in_reward=false, and the penalty joins the loss"
        )
    idle = [shaper.name for shaper in components.reward_shapers if getattr(shaper, "changes_reward", True)]
    if idle:
        rest = ",".join(shaper.name for shaper in components.reward_shapers if shaper.name not in idle)
        raise ConfigError(
            f"reward_shaper=[{','.join(idle)}]: {because} this would change no advantage; set reward_shaper=[{rest}], or choose "
            "another advantage_estimator"
        )


def _validate_old_log_probs(cfg: DictConfig, components: Components) -> None:
    correction: Any = components.objective.importance_correction
    if cfg.trainer.old_log_probs == "engine" and not isinstance(correction, NoCorrection):
        raise ConfigError(
            f"trainer.old_log_probs=engine: importance_correction={correction.name} weighs the trainer's old log-probs against the "
            "engine's, and would find no difference; set importance_correction=none, or trainer.old_log_probs=trainer"
        )


def _validate_lengths(cfg: DictConfig, components: Components) -> None:
    context = components.model.context_length()
    for key, response in (
        ("sampling.max_new_tokens", cfg.sampling.max_new_tokens),
        ("evaluation.max_new_tokens", cfg.evaluation.max_new_tokens),
    ):
        total = cfg.sampling.max_prompt_tokens + response
        if context is not None and total > context:
            raise ConfigError(
                f"sampling.max_prompt_tokens={cfg.sampling.max_prompt_tokens} + {key}={response} = {total} tokens: "
                f"longer than the model's context of {context} tokens"
            )
    longest = cfg.sampling.max_prompt_tokens + cfg.sampling.max_new_tokens
    if cfg.trainer.micro_batch_tokens < longest:
        raise ConfigError(
            f"trainer.micro_batch_tokens={cfg.trainer.micro_batch_tokens}: must hold one whole row, "
            f"sampling.max_prompt_tokens + sampling.max_new_tokens = {longest} tokens"
        )


def validate_hardware(cfg: DictConfig) -> None:
    """Refuse a preset that this machine cannot run. Raises ConfigError."""
    import psutil
    import torch

    gpus, memory = torch.cuda.device_count(), psutil.virtual_memory().total / 2**30
    needed = cfg.hardware
    processes = cfg.trainer.devices
    if gpus * cfg.trainer.num_nodes < needed.min_gpus:
        raise ConfigError(
            f"this preset needs {needed.min_gpus} GPUs (hardware.min_gpus), found {gpus} here x trainer.num_nodes="
            f"{cfg.trainer.num_nodes}; preset=laptop runs on a CPU"
        )
    if memory < needed.min_memory_gib:
        raise ConfigError(
            f"this preset needs {needed.min_memory_gib:g} GiB of memory (hardware.min_memory_gib), found {memory:.1f} GiB; "
            "preset=laptop needs 4"
        )
    if cfg.trainer.accelerator == "gpu" and gpus < processes:
        raise ConfigError(f"trainer.accelerator=gpu with trainer.devices={processes}: found {gpus} GPUs here")
