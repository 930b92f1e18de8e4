"""What every command shares: quiet libraries, a quick start, plug-ins, and errors in one sentence.

Each ``python -m rltoolkit...`` calls ``prepare`` before it imports anything heavy.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import re
import sys
import textwrap
import types
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from importlib import resources
from pathlib import Path
from typing import Any

from rltoolkit import registry
from rltoolkit.errors import ConfigError, RunFailed
from rltoolkit.run import config_dirs
from rltoolkit.run.process import is_first_process

VERBOSE = "RLTOOLKIT_VERBOSE"
_USAGE = """\
usage: python -m rltoolkit [key=value ...] [-m] [--plugin FILE]
                           [--config-dir DIR] [--verbose]

  python -m rltoolkit +experiment=dapo              full DAPO, on two CPU cores
  python -m rltoolkit +experiment=dapo_ablation -m  Table 1 of the paper
  python -m rltoolkit +experiment=dapo clip_strategy=cispo trainer.max_steps=64

-m                a sweep: key=a,b trains both
--plugin FILE     components of your own, in one file
--config-dir DIR  configuration of your own: preset=NAME is DIR/preset/NAME.yaml
--verbose         let the libraries talk, and show tracebacks"""
_MORE = """\
reward_shaper and sampler_filter take lists: reward_shaper=[a,b]
One component in full:   python -m rltoolkit.components NAME
The whole configuration: python -m rltoolkit --cfg job
Hydra's own options:     python -m rltoolkit --hydra-help"""
FILE_GROUPS = ("preset", "experiment", "ablation", "logger", "profiler")
LAUNCHERS = ("local", "slurm")
"""Hydra's own run all jobs of a sweep in one process, which engines and process groups do not survive."""


def prepare(arguments: Sequence[str]) -> list[str]:
    """Take ``--verbose``, ``--plugin FILE`` and ``--config-dir DIR`` out of the arguments and set the process up.

    Returns the other arguments.
    """
    rest: list[str] = []
    given = iter(arguments)
    for argument in given:
        if argument == "--verbose":
            os.environ[VERBOSE] = "1"
        elif argument == "--plugin" or argument.startswith("--plugin="):
            _add_plugin(_value(argument, given))
        elif argument in ("--config-dir", "-cd") or argument.startswith("--config-dir="):
            config_dirs.add(_value(argument, given))
        else:
            rest.append(argument)
    if "JPY_PARENT_PID" in os.environ and not sys.stdout.isatty():
        os.environ.pop(
            "FORCE_COLOR", None
        )  # a notebook's, for its own cells; of a command it would make progress bars without end
    quiet_libraries()
    _log_to_terminal()
    os.environ["HYDRA_FULL_ERROR"] = "1"  # let exceptions reach report_errors(), which words them
    _defer("torch")
    return rest


def is_verbose() -> bool:
    """Whether libraries may talk and errors show their traceback."""
    return os.environ.get(VERBOSE) == "1"


@contextmanager
def report_errors(keys: Callable[[], list[str]] | None = None) -> Iterator[None]:
    """Turn the errors that a user can act on into one message and an exit status; any other is a bug and keeps its traceback.

    ``keys``: all keys of the command's configuration, where it is not a run's.
    """
    try:
        yield
    except KeyboardInterrupt:
        say("interrupted")
        sys.exit(130)
    except Exception as error:
        status = _status(error)
        if status is None or is_verbose():
            raise
        name = f"{type(error).__name__}: " if status == 1 else ""
        say(f"error: {name}{_worded(error, keys)}")
        sys.exit(status)


def say(text: str) -> None:
    """One line on standard error, from the first process alone."""
    from rich.console import Console

    if is_first_process():
        Console(stderr=True).print(text, highlight=False, markup=False, soft_wrap=True)


def check_choices(arguments: Sequence[str]) -> None:
    """Refuse an unknown component or option with the nearest names. Raises registry.UnknownName."""
    for argument in arguments:
        match = re.fullmatch(r"\+{0,2}([a-z_/]+)=([\w,\[\]\s]+)", argument)
        if not match:
            continue
        group, chosen = match[1], re.findall(r"\w+", match[2])
        known = _options(group)
        if not known:
            continue
        for name in chosen:
            if name not in known and name != "null":
                raise registry.UnknownName(group, name, known)


def help_text(width: int) -> str:
    """What ``python -m rltoolkit --help`` prints: how to call it, and what there is to choose from."""
    choices = [(group, _options(group)) for group in (*FILE_GROUPS, *registry.kinds())]
    label_width = max(len(group) for group, _ in choices) + 3
    lines = [_USAGE, ""]
    for group, names in choices:
        head = f"{'+' if group in ('experiment', 'ablation') else ''}{group}="
        body = textwrap.wrap(", ".join(names), max(width - label_width, 30))
        lines += [f"{head if number == 0 else '':<{label_width}}{line}" for number, line in enumerate(body)]
    return "\n".join([*lines, "", _MORE])


def _options(group: str) -> tuple[str, ...]:
    """What may stand behind ``group=``: registered components, files of conf/ and of one's own, launchers; empty for a plain key."""
    if group == "hydra/launcher":
        return LAUNCHERS
    kind = "task" if group == "eval_task" else group
    registered = registry.names(kind) if kind in registry.kinds() else ()
    folders = [folder / group for folder in (resources.files("rltoolkit.conf"), *config_dirs.folders())]
    inside = [file.name for folder in folders if folder.is_dir() for file in folder.iterdir()]
    files = [name.removesuffix(".yaml") for name in inside if name.endswith(".yaml")]
    return tuple(sorted({*registered, *files}))


def quiet_libraries() -> None:
    """Keep other libraries' chatter off the terminal, unless asked for it; before any of them is imported."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if is_verbose():
        return
    warnings.simplefilter("ignore")
    warnings.filterwarnings("default", module=r"rltoolkit\.registry")  # a plug-in that failed to load
    os.environ.setdefault("PYTHONWARNINGS", "ignore")  # of child processes
    os.environ.setdefault("WANDB_SILENT", "true")
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    os.environ.setdefault("LOGURU_LEVEL", "ERROR")
    os.environ.setdefault("RL_LOGGING_LEVEL", "ERROR")  # torchrl's


def _log_to_terminal() -> None:
    """Print our own log lines, each once, and those of libraries if asked for."""
    terminal = logging.StreamHandler()
    terminal.addFilter(_Once())
    logging.basicConfig(format="%(message)s", level=logging.INFO if is_verbose() else logging.ERROR, handlers=[terminal])
    logging.getLogger("rltoolkit").setLevel(logging.INFO)


def _value(argument: str, rest: Iterator[str]) -> str:
    """What an option is given: ``--option=value``, or the next argument. Exits where there is none."""
    option, _, value = argument.partition("=")
    value = value or next(rest, "")
    if not value:
        say(f"error: {option} needs a value")
        sys.exit(2)
    return value


def _add_plugin(plugin: str) -> None:
    """Name a plug-in to the registry of this process and of those that it starts."""
    where = str(Path(plugin).absolute()) if plugin.endswith(".py") else plugin
    given = os.environ.get(registry.PLUGINS_VARIABLE)
    os.environ[registry.PLUGINS_VARIABLE] = ",".join(filter(None, [given, where]))


class _Once(logging.Filter):
    """Lets a line of ours through once: a task reads its rows for either split, and finds the same both times."""

    def __init__(self) -> None:
        super().__init__()
        self._said: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line is new, or somebody else's."""
        text = record.getMessage()
        if not record.name.startswith("rltoolkit."):
            return True
        is_new = text not in self._said
        self._said.add(text)
        return is_new


class _Deferred(types.ModuleType):
    """A module whose code runs when something in it is first used."""

    def __getattr__(self, name: str) -> Any:
        spec = self.__spec__
        assert spec is not None
        assert spec.loader is not None
        self.__class__ = types.ModuleType  # type: ignore[assignment]
        self.__path__ = spec.submodule_search_locations or []
        spec.loader.exec_module(self)
        return getattr(self, name)


def _defer(name: str) -> None:
    """Let ``import name`` cost nothing until the module is used.

    Component files import torch, and their fields and range checks need none of it: --help and every refusal of bad input would
    wait two seconds for nothing.
    """
    spec = importlib.util.find_spec(name)
    if name in sys.modules or spec is None:
        return
    module = importlib.util.module_from_spec(spec)
    del module.__path__  # a submodule must not be imported before the module's own code has run
    module.__class__ = _Deferred
    sys.modules[name] = module


def _status(error: Exception) -> int | None:
    """2 for bad input, 1 for a run that failed in a way whose message says all there is to know, None for a bug."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    if isinstance(error, (HydraException, OmegaConfBaseException, ConfigError, registry.UnknownName)):
        return 2
    return 1 if isinstance(error, RunFailed) else None


def _worded(error: Exception, keys: Callable[[], list[str]] | None) -> str:
    """Hydra's and OmegaConf's messages, with the nearest keys where a key is unknown; others speak for themselves."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    cause = error.__cause__ if isinstance(error.__cause__, (HydraException, OmegaConfBaseException)) else None
    text = "\n".join(str(each).strip() for each in (error, cause) if each is not None)
    unknown = re.search(r"Could not override '([\w.]+)'", text)
    if unknown is None or "not in" not in text:
        return text
    from rltoolkit.run.compose import all_keys

    key, known = unknown[1], (keys or all_keys)()
    near = [each for each in get_close_matches(key, known, n=4, cutoff=0.6) if each != key][:3]
    if key in known:
        return f"config key '{key}' belongs to a component that is not chosen."
    return f"unknown config key '{key}'." + (f" Did you mean {' or '.join(near)}?" if near else "")
