"""From the registry to Hydra and back: publish components as typed options, build those of a configuration.

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
from rltoolkit.kl_penalty import KLPenalty, NoPenalty
from rltoolkit.model.lora import LoRA
from rltoolkit.objective import PolicyObjective
from rltoolkit.reward_function import TimeLimited

SEVERAL = ("reward_shaper", "sampler_filter")
"""Kinds of which a run takes a list: ``reward_shaper=[overlong_filtering,soft_overlong_punishment]``."""

FOLLOWS = {"max_length": "${sampling.max_new_tokens}", "cache_length": "${cache_length}"}
"""Fields that follow the run's own length limit, so that L_max is written in one place."""

PARTS: dict[str, dict[str, type]] = {"model": {"lora": LoRA}}
"""What goes with every component of a kind and is none of its own fields: ``model.lora.rank=16``."""


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
    """The components of one run, built from its configuration."""

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


def build(cfg: DictConfig) -> Components:
    """Build every component (cheap, nothing is loaded). Raises ConfigError for values out of range."""
    penalty = _component(cfg, "kl_penalty")
    if cfg.kl_in_reward and not penalty.needs_reference:
        raise ConfigError("kl_in_reward=true needs a KL penalty: kl_penalty=none, choose k1, k2 or k3")
    reward_function = _component(cfg, "reward_function")
    if cfg.verifier_timeout is not None:
        reward_function = TimeLimited(function=reward_function, seconds=cfg.verifier_timeout)
    return Components(
        task=_component(cfg, "task"),
        eval_task=_component(cfg, "eval_task") if cfg.eval_task is not None else None,
        prompt_sampler=_component(cfg, "prompt_sampler"),
        model=_component(cfg, "model"),
        lora=_component(cfg, "model.lora"),
        rollout_engine=_component(cfg, "rollout_engine"),
        reward_function=reward_function,
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
