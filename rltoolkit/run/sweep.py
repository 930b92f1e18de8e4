"""Sweeps: every job a fresh process, and a report at the end.

Hydra's own launcher runs all jobs in one process; engines and process groups do not survive that. Those here start
``python -m rltoolkit`` with each job's overrides: ``hydra/launcher=local`` (the default) on this machine, ``hydra/launcher=slurm`` on a
cluster. All jobs are composed before the first one starts, so a bad configuration is refused at once. One failing job does not end
the others; a finished one is skipped when the sweep is started again, an unfinished one goes on from its last checkpoint.
"""

from __future__ import annotations

import hashlib
import importlib
import itertools
import re
import sys
import types
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console

from rltoolkit.component import check
from rltoolkit.errors import ConfigError
from rltoolkit.run import compose
from rltoolkit.run.folder import RunFolder
from rltoolkit.run.jobs import Job, Outcome, run_jobs
from rltoolkit.run.run import Run
from rltoolkit.run.slurm import Resources, run_on_slurm
from rltoolkit.run.sweep_options import PLUGINS, SlurmOptions

NAME_LENGTH = 100
"""characters of a folder's name that say what a job is; file systems take 255 bytes"""
failed: list[str] = []
"""Folders of the jobs that failed in this sweep."""


class Planned(NamedTuple):
    """One job of a sweep before it starts."""

    name: str
    overrides: list[str]
    folder: Path
    run: Run


class SweepLauncher(Launcher):
    """What both launchers share: composing, skipping, refusing, counting."""

    section: ClassVar[str] = "hydra.launcher"

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Called by Hydra. Raises ConfigError for an option that is out of range."""
        self._loader, self._config, self._console = hydra_context.config_loader, config, Console()
        try:
            self.check_options()
        except ValueError as error:
            raise ConfigError(str(error)) from error

    def check_options(self) -> None:
        """Raise ValueError for an option that is out of range."""

    @abstractmethod
    def start(self, planned: Sequence[Planned]) -> Outcome:
        """Run these jobs and wait for them."""

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run a sweep's jobs; their return values are their exit statuses.

        Raises:
            ConfigError, HydraException: a job's configuration is refused; none has been started.
            SystemExit: with 128 + the signal's number, when one ended the sweep.
        """
        planned = self._compose(job_overrides, initial_job_idx)
        statuses = {each.folder: self._status_before(each) for each in planned}
        waiting = [each for each in planned if statuses[each.folder] is None]
        outcome = self.start(waiting)
        if outcome.signal:
            self._say(f"interrupted; to go on, start the same sweep again with hydra.sweep.dir={self._config.hydra.sweep.dir}")
            sys.exit(128 + outcome.signal)
        statuses |= {each.folder: status for each, status in zip(waiting, outcome.statuses, strict=True)}
        unfinished = [each for each in planned if statuses[each.folder]]
        failed.extend(str(each.folder) for each in unfinished)
        if unfinished:
            self._say(f"{len(unfinished)} of {len(planned)} jobs failed: {', '.join(each.name for each in unfinished)}")
        return [JobReturn(status=JobStatus.COMPLETED, _return_value=statuses[each.folder]) for each in planned]

    def _compose(self, job_overrides: Sequence[Sequence[str]], first: int) -> list[Planned]:
        """Every job of the sweep. Raises what composing raises, and ConfigError where two jobs would share a folder."""
        swept_keys = {each.get_key_element() for each in sweep_overrides(self._config, self._loader) if each.is_sweep_override()}
        str(
            self._config.hydra.sweep.dir
        )  # read once, before the jobs' copies are made: ${now:...} in it is the same for all of them
        planned: dict[Path, Planned] = {}
        for number, overrides in enumerate(job_overrides, start=first):
            swept = [override for override in overrides if override.partition("=")[0] in swept_keys]
            name = f"job {number + 1}"
            try:
                job = self._planned(name, list(overrides), swept, number)
            except (ConfigError, HydraException, OmegaConfBaseException):
                Console(stderr=True).print(
                    f"{name} of {len(job_overrides)} ({' '.join(swept)}) cannot run, so none was started:",
                    markup=False, highlight=False, soft_wrap=True,
                )  # fmt: skip
                raise
            if job.folder in planned:
                raise ConfigError(
                    f"hydra.sweep.subdir={self._config.hydra.sweep._get_node('subdir')}: {planned[job.folder].name} and {name} "
                    f"would share the folder {job.folder}"
                )
            planned[job.folder] = job
        return list(planned.values())

    def _planned(self, name: str, overrides: list[str], swept: list[str], number: int) -> Planned:
        composed = self._loader.load_sweep_config(self._config, overrides)
        settings = composed.hydra.job.config.override_dirname
        separators = {"kv_sep": settings.kv_sep, "item_sep": settings.item_sep}
        job = composed.hydra.job
        with open_dict(job):
            job.id, job.num = str(number), number
            job.swept = folder_name(swept, **separators) or f"job_{number}"
            job.override_dirname = folder_name(composed.hydra.overrides.task, exclude=settings.exclude_keys, **separators)
        HydraConfig.instance().set_config(composed)  # for ${hydra:...} in a sub-folder's name
        folder = Path(composed.hydra.sweep.dir, composed.hydra.sweep.subdir).absolute()
        choices, own = composed.hydra.runtime.choices, list(composed.hydra.overrides.task)
        with open_dict(composed):
            del composed["hydra"]
        return Planned(name, own, folder, compose.from_hydra(composed, choices, own))

    def _status_before(self, job: Planned) -> int | None:
        """0 for a run that has come to its end in its folder, 2 where another configuration lies there, None where it has to run."""
        try:
            if not RunFolder(job.folder, job.run).finished():
                return None
        except ConfigError as error:
            self._say(f"{job.name}  failed: {error}", style="red")
            return 2
        self._say(f"{job.name}  {job.folder}  finished before, skipped")
        return 0

    def _say(self, text: str, style: str | None = None) -> None:
        self._console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)


class LocalLauncher(SweepLauncher):
    """``hydra/launcher=local``: on this machine, one after another or side by side."""

    __module__ = PLUGINS

    def __init__(self, jobs_at_once: int, threads: int | None) -> None:
        self.jobs_at_once, self.threads = jobs_at_once, threads

    def check_options(self) -> None:
        """See ``SweepLauncher``."""
        check(self, "jobs_at_once", self.jobs_at_once >= 1, "at least 1")
        check(self, "threads", self.threads is None or self.threads >= 1, "at least 1, or null")

    def start(self, planned: Sequence[Planned]) -> Outcome:
        """See ``SweepLauncher``."""
        return run_jobs(
            [job_of(each) for each in planned], jobs_at_once=self.jobs_at_once, threads=self.threads, console=self._console
        )


class SlurmLauncher(SweepLauncher):
    """``hydra/launcher=slurm``: each job of the sweep is a job of the cluster."""

    __module__ = PLUGINS

    def __init__(self, **options: Any) -> None:
        self.options = SlurmOptions(**options)

    def start(self, planned: Sequence[Planned]) -> Outcome:
        """See ``SweepLauncher``."""
        options = self.options
        resources = []
        for each in planned:
            trainer = each.run.config.trainer
            gpus = 0 if trainer.accelerator == "cpu" else trainer.devices
            resources.append(
                Resources(
                    nodes=trainer.num_nodes if options.nodes is None else options.nodes,
                    tasks_per_node=trainer.devices,
                    gpus_per_node=gpus if options.gpus_per_node is None else options.gpus_per_node,
                    cpus_per_task=options.cpus_per_task,
                )
            )
        return run_on_slurm(
            [job_of(each) for each in planned],
            resources,
            folder=Path(self._config.hydra.sweep.dir, "slurm").absolute(),
            cluster=options.cluster,
            partition=options.partition,
            minutes=options.minutes,
            extra=dict(options.extra),
            console=self._console,
        )


class GridSweeper(Sweeper):
    """``hydra/sweeper=grid``: a job for each combination of the values swept over.

    Hydra's own sweeper composes all jobs before it hands them to the launcher; here the launcher does, once, and names the one that
    fails.
    """

    __module__ = PLUGINS

    def __init__(self, params: Mapping[str, str] | None) -> None:
        self.params = params

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Called by Hydra."""
        self._config, self._loader = config, hydra_context.config_loader
        self._launcher = Plugins.instance().instantiate_launcher(
            config=config, hydra_context=hydra_context, task_function=task_function
        )

    def sweep(self, arguments: list[str]) -> Any:
        """Launch every combination. Raises HydraException for a key swept over an interval, which has no end of values."""
        choices = []
        for override in sweep_overrides(self._config, self._loader):
            key = override.get_key_element()
            if not override.is_sweep_override():
                choices.append([f"{key}={override.get_value_element_as_str()}"])
            elif override.is_discrete_sweep():
                choices.append([f"{key}={value}" for value in override.sweep_string_iterator()])
            else:
                raise HydraException(f"{override.input_line}: a sweep needs single values, like {key}=1,2 or {key}=range(1,3)")
        return self._launcher.launch([list(job) for job in itertools.product(*choices)], initial_job_idx=0)


class SweepReport(Callback):
    """Hydra callback: the report over all runs of a sweep, when the last one has ended."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Write results.csv, table.md and the figures, and print the table; nothing where no job came to write run.json."""
        from rltoolkit.report import write_report, write_viewer_index

        folder = Path(config.hydra.sweep.dir)
        if any(folder.rglob("run.json")):
            write_report(folder)
            write_viewer_index(folder)


def register() -> None:
    """Make the launchers and the sweeper known to Hydra; harmless when called twice."""
    known, module = Plugins.instance(), types.ModuleType(PLUGINS)
    for plugin in (LocalLauncher, SlurmLauncher, GridSweeper):
        known.register(plugin)
        setattr(module, plugin.__name__, plugin)
    try:
        parent = importlib.import_module("hydra_plugins")  # where other plug-ins are installed
    except ModuleNotFoundError:
        parent = sys.modules["hydra_plugins"] = types.ModuleType("hydra_plugins")
        parent.__path__ = []
    sys.modules[PLUGINS] = parent.rltoolkit = module  # type: ignore[attr-defined]


def job_of(planned: Planned) -> Job:
    """The command that runs one job of a sweep: as one would type it, but for the folder."""
    where = f"hydra.run.dir={compose.quoted(str(planned.folder))}"
    command = [sys.executable, "-m", "rltoolkit", *planned.overrides, "hydra.mode=RUN", where]
    return Job(name=planned.name, command=command, folder=planned.folder)


def sweep_overrides(config: DictConfig, loader: Any) -> list[Override]:
    """What a sweep was started with: the sweeper's own params and the command line, of which the last word on a key counts."""
    params = OmegaConf.select(config, "hydra.sweeper.params") or {}
    given = [f"{key}={value}" for key, value in params.items()] + list(config.hydra.overrides.task)
    last = {each.get_key_element(): each for each in OverridesParser.create(config_loader=loader).parse_overrides(given)}
    return list(last.values())


def folder_name(overrides: Sequence[str], *, exclude: Sequence[str] = (), kv_sep: str = "=", item_sep: str = ",") -> str:
    """``["+experiment=grpo", "seed=1"]`` as ``experiment=grpo,seed=1``, a name that any shell and file system takes.

    Brackets are left out. Where a name is cut or loses another character, a hash of the whole keeps it apart from others.
    """
    items = [override.lstrip("+").partition("=") for override in overrides]
    left_out = {key.lstrip("+") for key in exclude}
    whole = item_sep.join(sorted(f"{key}{kv_sep}{value}" for key, _, value in items if key not in left_out))
    plain = re.sub(r"[\[\]]", "", whole)
    name = re.sub(r"[^\w=,.+-]", "_", plain, flags=re.ASCII)[:NAME_LENGTH]
    return name if name == plain else f"{name}-{hashlib.sha256(whole.encode()).hexdigest()[:8]}"
