"""The loop, read top to bottom: what happens when training starts, around each optimizer step, and when it ends.

Lightning calls ``PolicyModule.training_step`` for the step itself and asks ``RolloutData`` for the next mini-batch; everything
else that a run does is one of the calls below, in this order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import lightning as L
from tensordict import TensorDict

from rltoolkit.training.checkpoints import Checkpoints
from rltoolkit.training.data import RolloutData
from rltoolkit.training.evaluator import Evaluator
from rltoolkit.training.interrupts import Interrupts
from rltoolkit.training.policy_module import PolicyModule
from rltoolkit.training.progress import Display
from rltoolkit.training.rollout_files import RolloutFiles
from rltoolkit.training.run_log import RunLog
from rltoolkit.training.weight_sync import WeightSync


@dataclass(kw_only=True, eq=False)
class Loop(L.Callback):
    """Calls the parts of a run in order; ``checkpoint_every`` counts rollout steps."""

    data: RolloutData
    module: PolicyModule
    sync: WeightSync
    run_log: RunLog
    rollout_files: RolloutFiles
    display: Display
    evaluator: Evaluator
    checkpoints: Checkpoints
    interrupts: Interrupts
    checkpoint_every: int

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """At the start, or where a continued run goes on."""
        self.interrupts.install(trainer)
        self.checkpoints.clear_partial(trainer)
        if trainer.is_global_zero:
            for log in (self.run_log, self.rollout_files):
                log.open(optimizer_step=trainer.global_step, rollout_step=self.data.rollout_step)
        self.evaluator.open(trainer)
        self.checkpoints.mark_best(trainer, self.evaluator.best_step)
        if trainer.global_step:
            self._sync(trainer, again=True)  # the engine starts on the model's files
        if self.data.rollout_step_finished and self.evaluator.is_due(self.data.rollout_step):
            self._evaluate(trainer)
        if not self.data.rollout_step_finished:
            self.data.engine.sleep()  # the run goes on inside a rollout step: updates come first, and need the memory
        self.display.start(trainer.global_step)

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, batch: TensorDict, batch_idx: int) -> None:
        """Before an optimizer step."""
        self.sync.forget()
        self.run_log.start_update()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: TensorDict, batch_idx: int
    ) -> None:
        """After an optimizer step."""
        rollout_step, finished = self.data.rollout_step, self.data.rollout_step_finished
        if finished:
            self.data.settle()
            self._sync(trainer)
        self.run_log.optimizer_step(trainer, batch, self.module.step_metrics, self.sync.metrics)
        self.rollout_files.updated(self.module.token_record, optimizer_step=trainer.global_step, rollout_step=rollout_step)
        self.display.trained(trainer.global_step, rollout_step, finished, self.run_log.latest)
        self.checkpoints.publish_if_written(trainer)
        if finished and rollout_step % self.checkpoint_every == 0:
            self.checkpoints.save(trainer)
        if finished and self.evaluator.is_due(rollout_step):
            self._evaluate(trainer)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """At the end, or where a signal stops the run; what was trained is safe before it is evaluated."""
        self.display.stop()
        self.checkpoints.save(trainer)
        self.checkpoints.finish(trainer)
        if not self.interrupts.should_stop():
            if self.sync.sent_at != trainer.global_step:
                self._sync(trainer)  # the run ends inside a rollout step
            self._evaluate(trainer)
            self.checkpoints.finish(trainer)
        self.interrupts.should_stop()
        self.interrupts.restore()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Where something failed: keep the checkpoint that was being written, give terminal and signals back."""
        self.display.stop()
        self.checkpoints.abandon(trainer)
        self.interrupts.restore()

    def state_dict(self) -> dict[str, Any]:
        """What the log and the sync go on with."""
        return {"log": self.run_log.state_dict(), "sync": self.sync.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue where ``state_dict`` was taken."""
        self.run_log.load_state_dict(state_dict["log"])
        self.sync.load_state_dict(state_dict["sync"])

    def _sync(self, trainer: L.Trainer, again: bool = False) -> None:
        version, step = self.data.rollout_step, trainer.global_step
        send = self.sync.send_again if again else self.sync.send
        send(self.data.engine, self.module, version=version, optimizer_step=step)

    def _evaluate(self, trainer: L.Trainer) -> None:
        self.evaluator.evaluate(trainer, self.data.engine, self.data.rollout_step)
        if self.evaluator.best_step == trainer.global_step:
            self.checkpoints.save(trainer)
        self.checkpoints.mark_best(trainer, self.evaluator.best_step)
