"""What a person sees while a run goes on: one bar over all optimizer steps, or lines where there is no terminal."""

from __future__ import annotations

from typing import Any

import lightning as L
from lightning.pytorch.callbacks import RichProgressBar
from rich.console import Console

from rltoolkit.training.data import rollout_data
from rltoolkit.training.run_log import RunLog

SHOWN = {
    "accuracy": "acc {:.3f}",
    "reward": "reward {:+.3f}",
    "entropy": "entropy {:.3f}",
    "response_length": "len {:.1f}",
    "truncated": "trunc {:.3f}",
    "kept_groups": "kept {:.0f}",
    "acceptance_rate": "of sampled {:.2f}",
    "tokens_per_second_generation": "{:.0f} tok/s",
}


def shown_metrics(log: RunLog) -> str:
    """The few metrics that fit on a line."""
    return "  ".join(text.format(log.latest[name]) for name, text in SHOWN.items() if name in log.latest)


class ProgressBar(RichProgressBar):
    """Lightning's rich bar, counting optimizer steps over the whole run."""

    def __init__(self, log: RunLog) -> None:
        super().__init__(refresh_rate=4)
        self.log_ = log
        self._rollout_step = 0

    @property
    def total_train_batches(self) -> int:
        """Optimizer steps of the whole run."""
        return self.trainer.max_steps

    def on_collecting(self, kept: int, needed: int) -> None:
        """Show how far the sampling of a rollout step is."""
        if self.progress is not None and self.train_progress_bar_id is not None:
            self.progress.update(
                self.train_progress_bar_id, description=f"rollout {self._rollout_step + 1}: {kept}/{needed} groups"
            )

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        """Move the bar to the optimizer step reached."""
        data = rollout_data(trainer)
        self._rollout_step = data.collector.rollout_step
        if self.train_progress_bar_id is None and not self.is_disabled:
            self._initialize_train_progress_bar_id()
        self._update(self.train_progress_bar_id, trainer.global_step)
        if self.progress is not None and self.train_progress_bar_id is not None:
            self.progress.update(self.train_progress_bar_id, description=f"rollout {self._rollout_step}")
        self._update_metrics(trainer, pl_module)
        self.refresh()

    def get_metrics(self, trainer: L.Trainer, pl_module: L.LightningModule) -> dict[str, Any]:
        """Names and values beside the bar."""
        return {"": shown_metrics(self.log_)}

    def _get_train_description(self, current_epoch: int) -> str:
        return f"rollout {self._rollout_step + 1}"


class ProgressLines(L.Callback):
    """One line for each rollout step: for log files and terminals that cannot redraw."""

    def __init__(self, log: RunLog, console: Console) -> None:
        self.log_ = log
        self.console = console

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        """Print when the rollout step's mini-batches are used up."""
        data = rollout_data(trainer)
        if data.rollout_step_finished and trainer.is_global_zero:
            step = f"rollout {data.collector.rollout_step:>3}  optimizer step {trainer.global_step}/{trainer.max_steps}"
            self.console.print(f"{step}  {shown_metrics(self.log_)}", highlight=False)
