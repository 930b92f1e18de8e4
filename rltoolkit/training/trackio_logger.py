"""Lightning's metrics for trackio: a local database, read with ``trackio show``; no account, no network.

    python -m rltoolkit logger=trackio
    trackio show --project rltoolkit

All runs of a machine share trackio's folder, so that its dashboard can compare them; the variable TRACKIO_DIR names another one.
"""

from __future__ import annotations

import contextlib
import io
from argparse import Namespace
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers.logger import Logger, rank_zero_experiment
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from rltoolkit.errors import ConfigError


class TrackioLogger(Logger):
    """Hands metrics to trackio, from the first process alone.

    Args:
        project: the runs that a dashboard shows together.
        folder: the run's folder, whose last two parts name the run; a continued run goes on under its name.

    Raises:
        ConfigError: trackio is not installed.
    """

    def __init__(self, project: str, folder: str) -> None:
        super().__init__()
        if find_spec("trackio") is None:
            raise ConfigError("logger=trackio: the package trackio is not installed; pip install 'rltoolkit[trackio]'")
        self.project = project
        self.run_name = "/".join(Path(folder).parts[-2:])
        self._run: Any = None

    @property
    def name(self) -> str:
        """The project."""
        return self.project

    @property
    def version(self) -> str:
        """The run."""
        return self.run_name

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """trackio's run, begun when it is first needed."""
        if self._run is None:
            import trackio

            with contextlib.redirect_stdout(io.StringIO()):  # it greets
                self._run = trackio.init(
                    self.project, name=self.run_name, resume="allow", embed=False, auto_log_cpu=False, auto_log_gpu=False
                )
        return self._run

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """One row."""
        self.experiment.log(dict(metrics), step=step)

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Nothing: run.json holds the configuration."""

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Wait until everything is written."""
        if self._run is not None:
            with contextlib.redirect_stdout(io.StringIO()):
                self._run.finish()
            self._run = None
