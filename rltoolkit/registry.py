"""The registry: one name for each component of each kind.

    @register("clip_strategy", "clip_higher")
    @dataclass(frozen=True, kw_only=True)
    class ClipHigher: ...

A component's file is its only source: its fields are its hyperparameters, and the Hydra option, the catalogue and the
reference page are generated from it.

Components from elsewhere come in two ways; either names modules that register on import:
- a file of your own: ``RLTOOLKIT_PLUGINS=mine.py,other`` holds paths of .py files and names of modules, separated by commas;
- a package: the entry-point group ``rltoolkit.components`` (examples/plugin is a whole one).
One that fails to load is warned about by name and breaks nothing else.

Standard library only, so that importing a kind costs nothing but the kind itself.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import importlib
import importlib.util
import inspect
import os
import pkgutil
import sys
import warnings
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

KINDS = (
    "task",
    "prompt_sampler",
    "model",
    "rollout_engine",
    "weight_transfer",
    "reward_function",
    "reward_shaper",
    "sampler_filter",
    "advantage_estimator",
    "clip_strategy",
    "loss_aggregator",
    "kl_penalty",
    "importance_correction",
)
"""Every kind, in the order in which data flows through them. A kind is a package of that name inside rltoolkit."""

SEVERAL = ("reward_shaper", "sampler_filter")
"""Kinds of which a run takes any number: ``reward_shaper=[overlong_filtering,soft_overlong_punishment]``."""

ENTRY_POINT_GROUP = "rltoolkit.components"
PLUGINS_VARIABLE = "RLTOOLKIT_PLUGINS"

C = TypeVar("C", bound=type)

_components: dict[str, dict[str, type]] = {kind: {} for kind in KINDS}
_loaded: set[str] = set()  # kinds, and "plug-ins"
_broken: list[str] = []


class UnknownName(LookupError):
    """No such kind or component; the message holds the nearest names, the whole list and the plug-ins that failed to load."""

    def __init__(self, what: str, name: str, known: tuple[str, ...]) -> None:
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        super().__init__(" ".join([f"unknown {what} '{name}'.{hint} Available: {', '.join(known)}.", *_broken]))


class Location(NamedTuple):
    """Where a component is defined, with the first line of its module's docstring."""

    module: str
    file: str
    line: int
    summary: str


def register(kind: str, name: str) -> Callable[[C], C]:
    """Class decorator that enters a frozen dataclass under ``kind`` and ``name``.

    Raises:
        UnknownName: the kind does not exist.
        TypeError: the class is not a frozen dataclass with keyword-only fields.
        ValueError: the name is taken; the message names both modules.
    """
    _require_kind(kind)

    def enter(cls: C) -> C:
        params = getattr(cls, "__dataclass_params__", None)
        if params is None or not params.frozen or any(not f.kw_only for f in dataclasses.fields(cls)):
            raise TypeError(f"{cls.__module__}.{cls.__qualname__} must be a @dataclass(frozen=True, kw_only=True)")
        if not cls.__module__.startswith("rltoolkit."):
            _load_own(kind)  # first, so that of two with one name it is the plug-in's that is refused
        taken = _components[kind].get(name)
        if taken is not None and (taken.__module__, taken.__qualname__) != (cls.__module__, cls.__qualname__):
            raise ValueError(f"{kind} '{name}' is registered twice: in {taken.__module__} and in {cls.__module__}")
        cls.kind, cls.name = kind, name  # type: ignore[attr-defined]
        _components[kind][name] = cls
        return cls

    return enter


def kinds() -> tuple[str, ...]:
    """All kinds, in the order of the data flow."""
    return KINDS


def names(kind: str) -> tuple[str, ...]:
    """The names registered under a kind, in alphabetical order, plug-ins included."""
    _load(kind)
    return tuple(sorted(_components[kind]))


def get(kind: str, name: str) -> type:
    """The class registered under a kind and a name. Raises UnknownName."""
    _load(kind)
    if name not in _components[kind]:
        raise UnknownName(kind, name, names(kind))
    return _components[kind][name]


def build(kind: str, name: str, **hyperparameters: Any) -> Any:
    """Make a component: ``build("clip_strategy", "clip_higher", epsilon_high=0.3)``."""
    return get(kind, name)(**hyperparameters)


def choice(kind: str, name: str) -> str:
    """What chooses a component on the command line: ``clip_strategy=clip_higher``, quoted where the shell asks for it."""
    return f"'{kind}=[{name}]'" if kind in SEVERAL else f"{kind}={name}"


def find(kind: str, name: str) -> Location:
    """Module, file, line and one-line summary of a component."""
    cls = get(kind, name)
    module = inspect.getmodule(cls)
    summary = (inspect.getdoc(module) or inspect.getdoc(cls) or "").partition("\n")[0]
    return Location(cls.__module__, inspect.getfile(cls), inspect.getsourcelines(cls)[1], summary)


def _require_kind(kind: str) -> None:
    if kind not in KINDS:
        raise UnknownName("kind", kind, KINDS)


def _load(kind: str) -> None:
    """Import every module of a kind's package once, and the plug-ins once."""
    _require_kind(kind)
    _load_own(kind)
    if "plug-ins" not in _loaded:
        _loaded.add("plug-ins")
        for entry_point in entry_points(group=ENTRY_POINT_GROUP):
            _load_plugin(f"'{entry_point.name}' ({entry_point.value})", entry_point.load)
        for name in filter(None, map(str.strip, os.environ.get(PLUGINS_VARIABLE, "").split(","))):
            _load_plugin(f"'{name}' ({PLUGINS_VARIABLE})", functools.partial(_import_plugin, name))


def _load_plugin(title: str, load: Callable[[], object]) -> None:
    try:
        load()
    except Exception as error:  # a broken plug-in must not take the others down
        _broken.append(f"Plug-in {title} failed to load: {error!r}.")
        warnings.warn(_broken[-1], stacklevel=3)


def _import_plugin(name: str) -> None:
    """Import a module by its name, or a .py file by its path, relative to the working directory.

    A file is imported under its stem, with its folder at the end of ``sys.path``, so that other processes with the same path can
    import its classes by their module's name, too.

    Raises:
        ImportError: no such module; or the stem is no module name, or already that of another module.
        FileNotFoundError: no such file.
    """
    if not name.endswith(".py"):
        importlib.import_module(name)
        return
    file = Path(name).expanduser().resolve()
    if not file.is_file():
        raise FileNotFoundError(f"there is no file {file}")
    if not file.stem.isidentifier():
        raise ImportError(f"'{file.stem}' cannot be a module's name; rename {file}")
    found = importlib.util.find_spec(file.stem)
    if found is not None and (found.origin is None or Path(found.origin).resolve() != file):
        raise ImportError(f"'{file.stem}' is the name of another module ({found.origin}); rename {file}")
    if str(file.parent) not in sys.path:
        sys.path.append(str(file.parent))  # at the end: what lies beside the file hides no library
    importlib.import_module(file.stem)


def _load_own(kind: str) -> None:
    if kind not in _loaded:
        _loaded.add(kind)
        package = importlib.import_module(f"rltoolkit.{kind}")
        for module in pkgutil.iter_modules(package.__path__):
            if not module.name.startswith("_"):
                importlib.import_module(f"{package.__name__}.{module.name}")
