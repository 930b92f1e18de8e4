"""Reinforcement learning of language models with verifiable rewards, made of interchangeable components.

    run = rltoolkit.load("+experiment=dapo", "trainer.max_steps=64")   # what `python -m rltoolkit ...` would train
    run = run.replace(reward_function=MyReward())                      # any object that fits the kind's contract
    result = rltoolkit.train(run, "runs/mine")                         # -> status, folder, newest and best checkpoint

Importing the package costs nothing: both functions import what they need when they are called.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rltoolkit.run.run import Run
    from rltoolkit.training.train import Result

__version__ = "0.1.0"


def load(*overrides: str) -> Run:
    """The run that ``python -m rltoolkit OVERRIDES`` would train. See ``rltoolkit.run.compose.load``."""
    from rltoolkit.run import compose

    return compose.load(*overrides)


def train(run: Run, folder: Path | str) -> Result:
    """Train a run in a folder, or go on where it stopped. See ``rltoolkit.training.train.train``."""
    from rltoolkit.command_line import quiet_libraries

    # the libraries' warnings are off while it trains; afterwards the caller has the filters of before
    with warnings.catch_warnings():
        quiet_libraries()
        from rltoolkit.training import train as training

        return training.train(run, folder)
