"""What a person sees while a run goes on: one bar over all optimizer steps, or lines where there is no terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

SHOWN = {
    "sampled_accuracy": "acc {:.3f}",
    "sampled_reward": "reward {:+.3f}",
    "entropy": "entropy {:.3f}",
    "sampled_response_length": "len {:.1f}",
    "sampled_truncated": "trunc {:.3f}",
    "kept_groups": "kept {:.0f}",
    "acceptance_rate": "of sampled {:.2f}",
    "tokens_per_second_generation": "{:.0f} tok/s",
}


def shown_metrics(metrics: Mapping[str, float]) -> str:
    """The few metrics that fit on a line."""
    return "  ".join(text.format(metrics[name]) for name, text in SHOWN.items() if name in metrics)


class Display(Protocol):
    """Is told how far the run is."""

    def start(self, optimizer_step: int) -> None:
        """Training begins, or goes on, after this many optimizer steps."""

    def collecting(self, kept: int, needed: int) -> None:
        """A rollout step is being sampled."""

    def trained(self, optimizer_step: int, rollout_step: int, rollout_step_finished: bool, metrics: Mapping[str, float]) -> None:
        """An optimizer step was made."""

    def stop(self) -> None:
        """Training is over; harmless when called twice."""


def display_for(console: Console, max_steps: int) -> Display:
    """A bar on a terminal, lines elsewhere."""
    return ProgressBar(console, max_steps) if console.is_terminal and not console.quiet else ProgressLines(console, max_steps)


class ProgressBar:
    """One bar over all optimizer steps."""

    def __init__(self, console: Console, max_steps: int) -> None:
        self._bar = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn(),
            TextColumn("{task.fields[metrics]}"), console=console, refresh_per_second=4,
        )  # fmt: skip
        self._task = self._bar.add_task("rollout 1", total=max_steps, metrics="")
        self._rollout_step = 0

    def start(self, optimizer_step: int) -> None:
        """See ``Display``."""
        self._bar.update(self._task, completed=optimizer_step)
        self._bar.start()

    def collecting(self, kept: int, needed: int) -> None:
        """See ``Display``."""
        self._bar.update(self._task, description=f"rollout {self._rollout_step + 1}: {kept}/{needed} groups")

    def trained(self, optimizer_step: int, rollout_step: int, rollout_step_finished: bool, metrics: Mapping[str, float]) -> None:
        """See ``Display``."""
        self._rollout_step = rollout_step
        what = {"description": f"rollout {rollout_step}", "metrics": shown_metrics(metrics)}
        self._bar.update(self._task, completed=optimizer_step, **what)  # type: ignore[arg-type]

    def stop(self) -> None:
        """See ``Display``."""
        self._bar.stop()


class ProgressLines:
    """One line for each rollout step: for log files and terminals that cannot redraw."""

    def __init__(self, console: Console, max_steps: int) -> None:
        self._console, self._max_steps = console, max_steps

    def start(self, optimizer_step: int) -> None:
        """See ``Display``."""

    def collecting(self, kept: int, needed: int) -> None:
        """See ``Display``."""

    def trained(self, optimizer_step: int, rollout_step: int, rollout_step_finished: bool, metrics: Mapping[str, float]) -> None:
        """See ``Display``: prints when the rollout step's mini-batches are used up."""
        if rollout_step_finished:
            step = f"rollout {rollout_step:>3}  optimizer step {optimizer_step}/{self._max_steps}"
            self._console.print(f"{step}  {shown_metrics(metrics)}", highlight=False)

    def stop(self) -> None:
        """See ``Display``."""
