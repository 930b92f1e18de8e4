"""The command line: ``python -m rltoolkit [overrides]``; add ``-m`` for a sweep."""

from __future__ import annotations

import dataclasses
import difflib
import logging
import os
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path

VERBOSE = any(re.fullmatch(r"verbose=(true|1|yes|on)", argument, re.IGNORECASE) for argument in sys.argv)


def quiet() -> None:
    """Keep other libraries' chatter off the terminal, unless verbose=true; before any of them is imported."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ["HYDRA_FULL_ERROR"] = "1"  # let exceptions reach main(), which words them
    logging.basicConfig(format="%(message)s", level=logging.INFO if VERBOSE else logging.ERROR)
    logging.getLogger("rltoolkit").setLevel(logging.INFO)
    if VERBOSE:
        os.environ["RLTOOLKIT_VERBOSE"] = "1"
        return
    warnings.simplefilter("ignore")
    os.environ.setdefault("PYTHONWARNINGS", "ignore")  # of child processes
    os.environ.setdefault("WANDB_SILENT", "true")
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    os.environ.setdefault("LOGURU_LEVEL", "ERROR")
    os.environ.setdefault("RL_LOGGING_LEVEL", "ERROR")  # torchrl's


quiet()

import hydra  # noqa: E402
from hydra.core.hydra_config import HydraConfig  # noqa: E402
from hydra.errors import HydraException  # noqa: E402
from hydra.types import RunMode  # noqa: E402
from omegaconf import DictConfig, OmegaConf  # noqa: E402
from omegaconf.errors import OmegaConfBaseException  # noqa: E402
from rich.console import Console  # noqa: E402

from rltoolkit import registry
from rltoolkit.collector import GenerationLimit  # noqa: E402
from rltoolkit.rollout_engine._parity import StaleWeights  # noqa: E402
from rltoolkit.rollout_engine.base import EngineDied  # noqa: E402
from rltoolkit.run import (
    compose,
    sweep,
)
from rltoolkit.run.config import ConfigError  # noqa: E402
from rltoolkit.run.folder import RunFolder, is_first_process  # noqa: E402
from rltoolkit.run.plan import StepPlan, validate, validate_hardware  # noqa: E402
from rltoolkit.training.errors import CheckpointError, NotFinite  # noqa: E402

FILE_GROUPS = ("preset", "experiment", "ablation", "logger", "profiler")
ACTIONABLE = (EngineDied, StaleWeights, GenerationLimit, NotFinite, CheckpointError)
"""Errors of a run whose message says all there is to know: no traceback unless verbose=true."""

_exit_status = 0


def main() -> None:
    """Entry point; exits with 0, 1 (a run failed), 2 (bad input), 130 or 143 (interrupted)."""
    # argparse takes overrides in one piece only, but one writes: +experiment=dapo_ablation -m seed=0,1
    sys.argv[1:] = sorted(sys.argv[1:], key=lambda argument: argument in ("-m", "--multirun"))
    with report_errors():
        compose.publish()
        check_choices(sys.argv[1:])
        job()
    sys.exit(1 if sweep.failed else _exit_status)


@contextmanager
def report_errors() -> Iterator[None]:
    """Turn the errors that a user can act on into one message and an exit status; any other is a bug and keeps its traceback."""
    try:
        yield
    except KeyboardInterrupt:
        _say("interrupted")
        sys.exit(130)
    except (HydraException, OmegaConfBaseException) as error:
        _fail(_worded(error), 2, error)
    except (ConfigError, registry.UnknownName) as error:
        _fail(str(error), 2, error)
    except ACTIONABLE as error:
        _fail(f"{type(error).__name__}: {error}", 1, error)


@hydra.main(version_base=None, config_path="pkg://rltoolkit.conf", config_name="config")
def job(cfg: DictConfig) -> int:
    """One run, or one job of a sweep."""
    global _exit_status
    settings = HydraConfig.get()
    console = Console(quiet=not is_first_process())
    components, plan = validate(cfg)
    choices = settings.runtime.choices
    stamps = {
        "ablation": choices.get("ablation"),
        "experiment": choices.get("experiment"),
        "overrides": list(settings.overrides.task),
        "verifier": repr(components.reward_function),
    }
    folder = RunFolder(Path(settings.runtime.output_dir), cfg, stamps)
    if settings.mode == RunMode.MULTIRUN:
        return sweep.run_in_fresh_process(folder, console)
    validate_hardware(cfg)
    _exit_status = run(cfg, components, plan, folder, console)
    return _exit_status


def run(cfg: DictConfig, components: compose.Components, plan: StepPlan, folder: RunFolder, console: Console) -> int:
    """Train in a folder of its own. Returns the exit status."""
    if not is_first_process():
        from rltoolkit.training.run import train

        return 128 + received if (received := train(cfg, components, plan, folder.path, console)) else 0
    with folder.claim():
        if folder.finished():
            console.print(f"{folder.path}: this run is finished; nothing to do")
            return 0
        folder.write("running")
        try:
            from rltoolkit.training.run import train

            received = train(cfg, components, plan, folder.path, console)
        except BaseException as error:
            folder.write(
                "interrupted" if isinstance(error, KeyboardInterrupt) else "failed", error=f"{type(error).__name__}: {error}"
            )
            raise
        folder.write("interrupted" if received else "finished")
        if received:
            console.print("interrupted; the same command continues from the checkpoint just written")
            return 128 + received
        from rltoolkit.report import write_run_figures

        write_run_figures(folder.path)
        console.print(f"finished; metrics, evaluations, figures and checkpoints are in {folder.path}")
        return 0


def check_choices(arguments: list[str]) -> None:
    """Refuse an unknown component or option with the nearest names. Raises registry.UnknownName."""
    for argument in arguments:
        match = re.fullmatch(r"\+{0,2}([a-z_]+)=([\w,\[\]\s]+)", argument)
        if not match:
            continue
        group, chosen = match[1], re.findall(r"\w+", match[2])
        kind = "task" if group == "eval_task" else group
        if kind in registry.kinds():
            known = registry.names(kind)
        elif group in FILE_GROUPS:
            known = tuple(sorted(Path(file.name).stem for file in (resources.files("rltoolkit.conf") / group).iterdir()))
        else:
            continue
        for name in chosen:
            if name not in known and name != "null":
                raise registry.UnknownName(group, name, known)


def _worded(error: Exception) -> str:
    """Hydra's and OmegaConf's messages, with the nearest keys where a key is unknown."""
    cause = error.__cause__ if isinstance(error.__cause__, Exception) else None
    text = "\n".join(str(each).strip() for each in (error, cause) if each is not None)
    unknown = re.search(r"Could not override '([\w.]+)'", text)
    if not unknown:
        return text
    key = unknown[1]
    if "not in" in text:
        near = difflib.get_close_matches(key, _all_keys(), n=3, cutoff=0.6)
        return f"unknown config key '{key}'." + (f" Did you mean {' or '.join(near)}?" if near else "")
    return text


def _all_keys() -> list[str]:
    """Every key of the default configuration and of every component."""
    keys = [f"{kind}.{field}" for kind in registry.kinds() for name in registry.names(kind) for field in _fields(kind, name)]
    return [*dict.fromkeys(keys), *_schema_keys(OmegaConf.structured(compose.RunConfig), "")]


def _fields(kind: str, name: str) -> list[str]:
    fields = [field.name for field in dataclasses.fields(registry.get(kind, name))]
    fields += [f"{part}.{field.name}" for part, cls in compose.PARTS.get(kind, {}).items() for field in dataclasses.fields(cls)]
    return [f"{name}.{field}" for field in fields] if kind in compose.SEVERAL else fields


def _schema_keys(node: DictConfig, prefix: str) -> list[str]:
    keys: list[str] = []
    for name in map(str, node):
        keys.append(f"{prefix}{name}")
        if not OmegaConf.is_missing(node, name) and isinstance(node[name], DictConfig):
            keys += _schema_keys(node[name], f"{prefix}{name}.")
    return keys


def _say(text: str) -> None:
    if is_first_process():
        Console(stderr=True).print(text, highlight=False, markup=False, soft_wrap=True)


def _fail(text: str, status: int, error: Exception) -> None:
    if VERBOSE:
        raise error
    _say(f"error: {text}")
    sys.exit(status)


if __name__ == "__main__":
    main()
