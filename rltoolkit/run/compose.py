"""The border to Hydra: components are published as typed options, and what Hydra composes becomes a ``Run``.

``publish()`` generates one config node for each registered component, with the component's own field names, types and defaults, so
a wrong key, a wrong type or an unknown option fails at composition, before a model loads. ``from_hydra`` is the one place where a
Hydra configuration turns into dataclasses; behind it nothing knows Hydra or OmegaConf.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_module
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin
from hydra.utils import get_class
from omegaconf import MISSING, DictConfig, OmegaConf, open_dict

from rltoolkit import registry
from rltoolkit.component import followed_key
from rltoolkit.errors import ConfigError
from rltoolkit.run import config_dirs, sweep_options
from rltoolkit.run.components import Components
from rltoolkit.run.config import RunConfig
from rltoolkit.run.run import Run

CONFIG_MODULE = "rltoolkit.conf"


class OwnFiles(SearchPathPlugin):
    """Hydra looks into the folders of ``--config-dir``, too."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Called by Hydra before it composes."""
        for folder in config_dirs.folders():
            search_path.append("--config-dir", f"file://{folder}")


def publish() -> None:
    """Tell Hydra of the schema, every component, the launchers of sweeps and folders of one's own; harmless when called twice."""
    sweep_options.publish()
    Plugins.instance().register(OwnFiles)
    store = ConfigStore.instance()
    store.store(name="run_schema", node=schema())
    for kind in registry.kinds():
        for name in registry.names(kind):
            node = config_node(registry.get(kind, name))
            store.store(group=kind, name=name, node=node, package=f"{kind}.{name}" if kind in registry.SEVERAL else kind)
            if kind == "task":
                store.store(group="eval_task", name=name, node=node, package=f"eval_task.{name}")


def schema() -> type:
    """``RunConfig`` and a place for each kind's component."""
    kinds: list[tuple[str, Any, Any]] = [("eval_task", dict[str, Any], dataclasses.field(default_factory=dict))]
    for kind in registry.kinds():
        several = kind in registry.SEVERAL
        entry = dataclasses.field(default_factory=dict) if several else dataclasses.field(default=MISSING)
        kinds.append((kind, dict[str, Any] if several else Any, entry))
    return dataclasses.make_dataclass("RunSchema", kinds, bases=(RunConfig,), kw_only=True)


def config_node(component: type) -> type:
    """A mutable twin of a component's dataclass with ``_target_``; OmegaConf cannot override a frozen one."""
    hints = typing.get_type_hints(component)
    target = f"{component.__module__}.{component.__qualname__}"
    entries: list[tuple[str, Any, Any]] = [("_target_", str, dataclasses.field(default=target))]
    for entry in dataclasses.fields(component):
        entries.append((entry.name, _omegaconf_type(hints[entry.name]), dataclasses.field(default_factory=_default(entry))))
    return dataclasses.make_dataclass(component.__name__, entries)


def load(*overrides: str) -> Run:
    """The run that ``python -m rltoolkit OVERRIDES`` would train: ``load("+experiment=dapo", "trainer.max_steps=64")``.

    Raises:
        ConfigError: a value out of range, or keys that contradict each other.
        HydraException: an unknown key, option or type.
    """
    publish()
    GlobalHydra.instance().clear()
    with initialize_config_module(CONFIG_MODULE, version_base=None):
        composed = hydra_compose("config", overrides=list(overrides), return_hydra_config=True)
    choices = composed.hydra.runtime.choices
    with open_dict(composed):
        del composed["hydra"]
    return from_hydra(composed, choices, overrides)


def from_hydra(composed: DictConfig, choices: Mapping[str, Any], overrides: typing.Sequence[str]) -> Run:
    """The run of a composed configuration. Raises ConfigError for values that are missing, out of range or contradictory."""
    missing = sorted(key for key in OmegaConf.missing_keys(composed))
    if missing:
        raise ConfigError(f"{missing[0].removesuffix('._target_')} must be given (the preset does not set it)")
    plain = OmegaConf.to_container(composed, resolve=True)
    assert isinstance(plain, dict)
    stamps = {"ablation": choices.get("ablation"), "experiment": choices.get("experiment"), "overrides": list(overrides)}
    try:
        return Run(config=_config(composed), components=_components(plain), stamps=stamps)
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(str(error)) from error


def hydra_choices() -> tuple[Mapping[str, Any], list[str]]:
    """What was chosen and overridden on the command line that Hydra runs at the moment."""
    settings = HydraConfig.get()
    return settings.runtime.choices, list(settings.overrides.task)


def quoted(value: str) -> str:
    """A value as Hydra's command line takes it, whatever characters are in it."""
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _config(composed: DictConfig) -> RunConfig:
    own = [field.name for field in dataclasses.fields(RunConfig)]
    resolved = OmegaConf.masked_copy(composed, own)
    OmegaConf.resolve(resolved)
    values: dict[str, Any] = {
        name: OmegaConf.to_object(resolved[name]) if OmegaConf.is_config(resolved[name]) else resolved[name] for name in own
    }
    return RunConfig(**values)


def _components(plain: dict[Any, Any]) -> Components:
    chosen: dict[str, Any] = {"eval_task": _several("eval_task", plain["eval_task"])}
    for kind in registry.kinds():
        chosen[kind] = _several(kind, plain[kind]) if kind in registry.SEVERAL else _component(plain[kind])
    return Components(**chosen)


def _several(kind: str, nodes: Mapping[str, Any]) -> tuple[Any, ...]:
    for name, node in nodes.items():
        if "_target_" not in node:
            raise ConfigError(f"{kind}.{name} has settings but is not chosen: {kind}=[{name}] chooses it")
    return tuple(_component(node) for node in nodes.values())


def _component(node: Mapping[str, Any]) -> Any:
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in node.items() if name != "_target_"}
    return get_class(node["_target_"])(**values)


def _default(entry: dataclasses.Field[Any]) -> Any:
    key = followed_key(entry)
    if key is not None:
        value: Any = f"${{oc.select:{key},{entry.default}}}"  # configurations without the key have components, too
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


def all_keys() -> list[str]:
    """Every key of the configuration, those of every component included, chosen or not."""
    keys = dict.fromkeys(_schema_keys(OmegaConf.structured(schema()), ""))
    for kind in registry.kinds():
        for name in registry.names(kind):
            prefix = f"{kind}.{name}" if kind in registry.SEVERAL else kind
            keys |= dict.fromkeys(f"{prefix}.{field.name}" for field in dataclasses.fields(registry.get(kind, name)))
    return list(keys)


def _schema_keys(node: DictConfig, prefix: str) -> list[str]:
    keys: list[str] = []
    for name in map(str, node):
        keys.append(f"{prefix}{name}")
        if not OmegaConf.is_missing(node, name) and not OmegaConf.is_interpolation(node, name) and OmegaConf.is_dict(node[name]):
            keys += _schema_keys(node[name], f"{prefix}{name}.")
    return keys
