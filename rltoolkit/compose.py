"""From the registry to Hydra and back: publish components as typed options, check a configuration, build its components.

``publish()`` generates one ConfigStore node for each registered component, with the component's own field names, types and
defaults, so a wrong key, a wrong type or an unknown option fails at composition, before a model loads.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from dataclasses import dataclass
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.utils import get_class
from omegaconf import MISSING, DictConfig, OmegaConf

from rltoolkit import registry
from rltoolkit.config import ConfigError, RunConfig
from rltoolkit.importance_correction import NoCorrection
from rltoolkit.kl_penalty import KLPenalty, NoPenalty
from rltoolkit.model.lora import LoRA
from rltoolkit.objective import PolicyObjective

SEVERAL = ("reward_shaper", "sampler_filter")
"""Kinds of which a run takes a list: ``reward_shaper=[overlong_filtering,soft_overlong_punishment]``."""

FOLLOWS = {"max_length": "${sampling.max_new_tokens}", "cache_length": "${cache_length}"}
"""Fields that follow the run's own length limit, so that L_max is written in one place."""

PARTS: dict[str, dict[str, type]] = {"model": {"lora": LoRA}}
"""What goes with every component of a kind and is none of its own fields: ``model.lora.rank=16``."""

COMPUTE_DTYPES = {"bfloat16", "float16", "float32"}


def publish() -> None:
    """Store the schema and every component as Hydra options; harmless when called twice."""
    store = ConfigStore.instance()
    store.store(name="run_schema", node=RunConfig)
    for kind in registry.kinds():
        for name in registry.names(kind):
            node = config_node(registry.get(kind, name))
            store.store(group=kind, name=name, node=node, package=f"{kind}.{name}" if kind in SEVERAL else kind)
            if kind == "task":
                store.store(group="eval_task", name=name, node=node, package="eval_task")


def config_node(component: type) -> type:
    """A mutable twin of a component's dataclass with ``_target_``, and its parts; OmegaConf cannot override a frozen one."""
    hints = typing.get_type_hints(component)
    target = f"{component.__module__}.{component.__qualname__}"
    entries: list[tuple[str, Any, Any]] = [("_target_", str, dataclasses.field(default=target))]
    for entry in dataclasses.fields(component):
        entries.append((entry.name, _omegaconf_type(hints[entry.name]), dataclasses.field(default_factory=_default(entry))))
    for name, part in PARTS.get(getattr(component, "kind", ""), {}).items():
        node = config_node(part)
        entries.append((name, node, dataclasses.field(default_factory=node)))
    return dataclasses.make_dataclass(component.__name__, entries)


def _default(entry: dataclasses.Field) -> Any:
    if entry.name in FOLLOWS:
        value: Any = FOLLOWS[entry.name]
    elif entry.default is not dataclasses.MISSING:
        value = list(entry.default) if isinstance(entry.default, tuple) else entry.default
    elif entry.default_factory is not dataclasses.MISSING:
        return entry.default_factory
    else:
        value = MISSING
    return lambda: value


def _omegaconf_type(hint: Any) -> Any:
    """OmegaConf knows lists but not variable-length tuples."""
    if typing.get_origin(hint) is tuple:
        return list[typing.get_args(hint)[0]]  # type: ignore[misc]
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        return hint if type(None) in typing.get_args(hint) else Any
    return hint


@dataclass(frozen=True, kw_only=True)
class Components:
    """The components of one run, built from its configuration; ``plan`` holds the numbers that follow from it."""

    task: Any
    eval_task: Any
    prompt_sampler: Any
    model: Any
    lora: LoRA
    rollout_engine: Any
    reward_function: Any
    reward_shapers: tuple[Any, ...]
    sampler_filters: tuple[Any, ...]
    advantage_estimator: Any
    objective: PolicyObjective
    reward_penalty: KLPenalty | None
    """the KL penalty where it is part of the reward; the objective then has none"""

    @property
    def needs_reference(self) -> bool:
        """Whether a frozen copy of the start has to be loaded."""
        return self.reward_penalty is not None or self.objective.kl_penalty.needs_reference


@dataclass(frozen=True, kw_only=True)
class StepPlan:
    """Every batch size of a run, derived from P, G and the mini-batch, and what depends on them."""

    responses_per_step: int
    optimizer_steps_per_rollout: int
    rollout_steps: int
    warmup_optimizer_steps: int
    old_log_probs: str
    """trainer, engine, or update: those of the rollout step's single update, which are the same as the trainer's before it"""


def build(cfg: DictConfig) -> Components:
    """Build every component (cheap, nothing is loaded). Raises ConfigError for values out of range."""
    penalty = _component(cfg, "kl_penalty")
    if cfg.kl_in_reward and not penalty.needs_reference:
        raise ConfigError("kl_in_reward=true needs a KL penalty: kl_penalty=none, choose k1, k2 or k3")
    return Components(
        task=_component(cfg, "task"),
        eval_task=_component(cfg, "eval_task") if cfg.eval_task is not None else None,
        prompt_sampler=_component(cfg, "prompt_sampler"),
        model=_component(cfg, "model"),
        lora=_component(cfg, "model.lora"),
        rollout_engine=_component(cfg, "rollout_engine"),
        reward_function=_component(cfg, "reward_function"),
        reward_shapers=tuple(_component(cfg, f"reward_shaper.{name}") for name in cfg.reward_shaper),
        sampler_filters=tuple(_component(cfg, f"sampler_filter.{name}") for name in cfg.sampler_filter),
        advantage_estimator=_component(cfg, "advantage_estimator"),
        objective=PolicyObjective(
            clip_strategy=_component(cfg, "clip_strategy"),
            loss_aggregator=_component(cfg, "loss_aggregator"),
            kl_penalty=NoPenalty() if cfg.kl_in_reward else penalty,
            importance_correction=_component(cfg, "importance_correction"),
            entropy_coefficient=cfg.entropy_coefficient,
        ),
        reward_penalty=penalty if cfg.kl_in_reward else None,
    )


def _component(cfg: DictConfig, key: str) -> Any:
    node = OmegaConf.select(cfg, key)
    values = typing.cast(dict, OmegaConf.to_container(node, resolve=True))
    component = get_class(values.pop("_target_"))
    for part in PARTS.get(key, {}):  # built by itself
        del values[part]
    missing = [name for name, value in values.items() if value == MISSING]
    if missing:
        raise ConfigError(f"{key}.{missing[0]} must be given")
    try:
        return component(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})
    except ValueError as error:
        raise ConfigError(str(error)) from error


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
        "evaluation.temperature", "optimizer.gradient_clip", "trainer.sync_tolerance",
    )  # fmt: skip
    for key in positive:
        value = OmegaConf.select(cfg, key)
        if not value > 0:
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
