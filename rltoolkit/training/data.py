"""The data side of training: the collector's rollout steps, cut into mini-batches.

One endless epoch: mini-batch after mini-batch, a new rollout step whenever the last one is used up. The state holds the
collector's and the mini-batches that are still to come, so a run can stop and go on after any optimizer step.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import Any, cast

import lightning as L
import torch
from tensordict import TensorDict
from torchrl.data import LazyTensorStorage, SamplerWithoutReplacement, TensorDictReplayBuffer

from rltoolkit.collector import CollectedStep, Collector
from rltoolkit.training.interrupts import Interrupts, StopRequested

TRAINING_KEYS = (
    "input_ids", "response_mask", "loss_mask", "rollout_log_probs", "old_log_probs", "advantage", "group_index",
)  # fmt: skip
"""What an optimizer step reads; text stays behind."""


class RolloutData(L.LightningDataModule):
    """Feeds mini-batches of ``mini_batch_size`` rows to the trainer.

    Args:
        make_collector: starts the engine and the collector, once the trainer's process group is up.
        mini_batch_size: M, rows of one optimizer step; whole groups where G divides M, so that a prompt's responses are
            trained on together.
        seed: rules the order of the mini-batches.
        annotate: adds ``old_log_probs`` to the rows of a new rollout step (or returns them as they are).
        on_collected: told of every new rollout step.
        interrupts: asked before every mini-batch whether to stop.
    """

    collector: Collector

    def __init__(
        self,
        *,
        make_collector: Callable[[L.Trainer], Collector],
        mini_batch_size: int,
        seed: int,
        annotate: Callable[[TensorDict], TensorDict],
        on_collected: Callable[[CollectedStep], None],
        interrupts: Interrupts,
    ) -> None:
        super().__init__()
        self.make_collector = make_collector
        self.mini_batch_size = mini_batch_size
        self.seed = seed
        self.annotate = annotate
        self.on_collected = on_collected
        self.interrupts = interrupts
        self.pending: list[TensorDict] = []

    def setup(self, stage: str) -> None:
        """Start the engine."""
        assert self.trainer is not None
        self.collector = self.make_collector(self.trainer)

    @property
    def rollout_step_finished(self) -> bool:
        """Whether every mini-batch of the current rollout step has been handed out."""
        return not self.pending

    def train_dataloader(self) -> MiniBatches:
        """The endless stream of mini-batches."""
        return MiniBatches(self)

    def next_mini_batch(self) -> TensorDict | None:
        """The next rows to train on; None when the run is asked to stop."""
        if self.interrupts.should_stop():
            return None
        if not self.pending:
            try:
                with self.interrupts.leaving_at_once():
                    step = self.collector.collect()
            except StopRequested:
                self.interrupts.should_stop()
                return None
            self.on_collected(step)
            self.pending = self._mini_batches(step.rollouts)
        return self.pending.pop(0)

    def state_dict(self) -> dict[str, Any]:
        """The collector's state and the mini-batches still to come, as bytes: a checkpoint's metadata admits plain types only."""
        buffer = io.BytesIO()
        torch.save({"collector": self.collector.state_dict(), "pending": list(self.pending)}, buffer)
        return {"stream": buffer.getvalue()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue where ``state_dict`` was taken."""
        state = torch.load(io.BytesIO(state_dict["stream"]), weights_only=False)
        self.collector.load_state_dict(state["collector"])
        self.pending = list(state["pending"])

    def _mini_batches(self, rollouts: TensorDict) -> list[TensorDict]:
        prompts, group_size = rollouts.batch_size
        rows = rollouts.select(*TRAINING_KEYS, strict=False)
        rows["group_index"] = torch.arange(prompts).unsqueeze(1).expand(prompts, group_size).contiguous()
        rows = self.annotate(rows.reshape(-1))
        unit = group_size if self.mini_batch_size % group_size == 0 else 1
        units = rows.reshape(-1, unit)
        buffer = TensorDictReplayBuffer(
            storage=LazyTensorStorage(len(units)),
            sampler=SamplerWithoutReplacement(drop_last=False),
            batch_size=self.mini_batch_size // unit,
        )
        # every rank draws the same order, in this process or after a restart
        buffer.set_rng(torch.Generator().manual_seed(self.seed * 1_000_003 + self.collector.rollout_step))
        buffer.extend(units)
        count = -(-len(units) // (self.mini_batch_size // unit))
        return [buffer.sample().select(*TRAINING_KEYS, strict=False).reshape(-1) for _ in range(count)]


def rollout_data(trainer: L.Trainer) -> RolloutData:
    """The trainer's data module, by its type."""
    return cast(RolloutData, trainer.datamodule)  # type: ignore[attr-defined]


class MiniBatches:
    """What Lightning iterates over: as endless as training is long."""

    def __init__(self, data: RolloutData) -> None:
        self.data = data

    def __iter__(self) -> Iterator[TensorDict]:
        while (batch := self.data.next_mini_batch()) is not None:
            yield batch

    def __len__(self) -> int:
        """More than any run takes. Without a length Lightning fetches one batch ahead, and would sample the next rollout step
        before the policy's last update."""
        return 2**40
