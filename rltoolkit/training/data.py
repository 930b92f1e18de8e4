"""The data side of training: the collector's rollout steps, cut into mini-batches.

One endless epoch: mini-batch after mini-batch, a new rollout step whenever the last one is used up. The state holds the
collector's and the mini-batches that are still to come, so a run can stop and go on after any optimizer step.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning as L
import torch
from tensordict import TensorDict
from torchrl.data import LazyTensorStorage, SamplerWithoutReplacement, TensorDictReplayBuffer

from rltoolkit import old_log_probs, sampling_mask
from rltoolkit.collector import CollectedStep, Collector, EncodedProblem, EveryPromptSolved, LaggedCollector, PromptStream
from rltoolkit.rollout_engine import RolloutEngine
from rltoolkit.run.run import Run
from rltoolkit.training.errors import NothingToTrain
from rltoolkit.training.interrupts import Interrupts, StopRequested
from rltoolkit.training.loading import start_engine
from rltoolkit.training.policy_module import PolicyModule
from rltoolkit.training.progress import Display
from rltoolkit.training.ranks import all_gather_objects, gather_for_a_thread
from rltoolkit.training.rollout_files import RolloutFiles
from rltoolkit.training.run_log import RunLog
from rltoolkit.training.weight_sync import WeightSync

log = logging.getLogger(__name__)

COLLECTED_KEYS = ("input_ids", "response_mask", "loss_mask", "rollout_log_probs", "advantage", "carried", *sampling_mask.KEYS)
"""What of a rollout step goes into its rows; text stays behind."""
TRAINING_KEYS = (
    "input_ids", "response_mask", "loss_mask", "rollout_log_probs", "advantage", "group_index", "logged", "old_log_probs",
    "scored_in_update", *sampling_mask.KEYS,
)  # fmt: skip
"""What an optimizer step reads; the sampling masks only where sampling was cut off."""


class RolloutData(L.LightningDataModule):
    """Feeds mini-batches of ``mini_batch_size`` rows to the trainer: whole groups where the group size divides it, so that a
    prompt's responses are trained on together.

    Args:
        run: what is trained.
        problems: the training prompts.
        model_path: what the engine starts with.
        module: scores the rows of a new rollout step.
        run_log, rollout_files, sync, display: are told of every new rollout step.
        interrupts: asked before every mini-batch whether to stop.
    """

    collector: Collector
    steps: LaggedCollector
    """the collector's rollout steps, as training takes them"""

    def __init__(
        self,
        *,
        run: Run,
        problems: list[EncodedProblem],
        model_path: Path,
        module: PolicyModule,
        run_log: RunLog,
        rollout_files: RolloutFiles,
        sync: WeightSync,
        display: Display,
        interrupts: Interrupts,
    ) -> None:
        super().__init__()
        self.run = run
        self.problems = problems
        self.model_path = model_path
        self.module = module
        self.run_log = run_log
        self.rollout_files = rollout_files
        self.sync = sync
        self.display = display
        self.interrupts = interrupts
        self.pending: list[TensorDict] = []
        self._source = old_log_probs.source(run.config.trainer.old_log_probs, run.plan.optimizer_steps_per_rollout)
        self._without_tokens = 0  # rollout steps in a row
        self._engine: RolloutEngine | None = None

    def setup(self, stage: str) -> None:
        """Start engine and collector. The trainer's process group is up by now; an engine must not bring up its own."""
        assert self.trainer is not None
        config, components = self.run.config, self.run.components
        self._engine = start_engine(self.run, self.model_path)
        in_background = self.run.samples_in_background
        self.collector = Collector(
            engine=self._engine,
            prompts=PromptStream(self.problems, components.prompt_sampler, config.seed),
            reward_function=self.run.verifier,
            reward_shapers=components.reward_shaper,
            sampler_filters=components.sampler_filter,
            advantage_estimator=components.advantage_estimator,
            prompts_per_step=config.prompts_per_step,
            group_size=config.group_size,
            sampling=config.sampling.sampling,
            refill=config.collector,
            rank=self.trainer.global_rank,
            world_size=self.trainer.world_size,
            all_gather=gather_for_a_thread() if in_background else all_gather_objects,
            adjust=self.module.before_advantages,
            on_progress=self.display.collecting,
        )
        self.steps = LaggedCollector(
            self.collector,
            lag=config.collector.max_lag,
            rollout_steps=self.run.plan.rollout_steps,
            in_background=in_background,
        )

    def close(self) -> None:
        """End the engine; harmless where none was started."""
        if self._engine is not None:
            self.steps.close()
            self._engine.close()

    @property
    def engine(self) -> RolloutEngine:
        """The live engine; between a mini-batch and ``settle`` it may be sampling ahead."""
        return self.collector.engine

    @property
    def rollout_step(self) -> int:
        """Rollout steps handed out so far."""
        return self.steps.rollout_step

    @property
    def rollout_step_finished(self) -> bool:
        """Whether every mini-batch of the current rollout step has been handed out."""
        return not self.pending

    def train_dataloader(self) -> MiniBatches:
        """The stream of mini-batches."""
        return MiniBatches(self)

    def next_mini_batch(self) -> TensorDict | None:
        """The next rows to train on; None at the end of the run, or when it is asked to stop.

        Raises:
            NothingToTrain: several rollout steps in a row have not a single token that trains.
        """
        assert self.trainer is not None
        if self.trainer.global_step >= self.run.config.trainer.max_steps:
            self.trainer.should_stop = True
        if self.interrupts.should_stop() or self.trainer.should_stop:
            return None
        if not self.pending:
            step = self._collect()
            if step is None:
                return None
            self.run_log.collected(step, self.rollout_step, self.collector.metrics(step))
            self.sync.remember_probe(step.rollouts)
            logged_groups = self.rollout_files.collected(step, self.rollout_step)
            self.pending = self._mini_batches(step.rollouts, logged_groups)
        return self.pending.pop(0)

    def settle(self) -> None:
        """After the last update of a rollout step: wait for those that are sampled ahead. The engine is free then."""
        with self.run_log.paused():
            self.steps.settle()

    def state_dict(self) -> dict[str, Any]:
        """The collector's state, rollout steps sampled ahead, and the mini-batches still to come."""
        buffer = io.BytesIO()
        torch.save({"steps": self.steps.state_dict(), "pending": list(self.pending)}, buffer)
        return {"stream": buffer.getvalue()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue where ``state_dict`` was taken."""
        state = torch.load(io.BytesIO(state_dict["stream"]), weights_only=False)
        self.steps.load_state_dict(state["steps"])
        self.pending = list(state["pending"])

    def _collect(self) -> CollectedStep | None:
        """The next rollout step; None when there is no prompt left, or when a signal ended its sampling, of which nothing is kept."""
        assert self.trainer is not None
        try:
            with self.interrupts.leaving_at_once():
                step = self.steps.sample()
        except StopRequested:
            self.interrupts.should_stop()
            return None
        except EveryPromptSolved as end:
            log.warning("the run ends after %d rollout steps: %s", self.rollout_step, end)
            self.trainer.should_stop = True
            return None
        self.steps.accept(step)
        self._without_tokens = 0 if step.counters.trained_tokens else self._without_tokens + 1
        limit = self.run.config.trainer.max_skipped_steps
        if self._without_tokens >= limit:
            raise NothingToTrain(
                f"{limit} rollout steps in a row had no token to train on (trainer.max_skipped_steps={limit}): of the last one's "
                f"responses {float(step.rollouts['truncated'].double().mean()):.0%} were truncated at sampling.max_new_tokens="
                f"{self.run.config.sampling.max_new_tokens}. Allow longer responses, or take out the reward shaper that empties the "
                "loss mask (overlong_filtering does for truncated responses)"
            )
        return step

    def _mini_batches(self, rollouts: TensorDict, logged_groups: int) -> list[TensorDict]:
        config = self.run.config
        prompts, group_size = rollouts.batch_size
        rows = rollouts.select(*COLLECTED_KEYS, strict=False)
        rows["group_index"] = torch.arange(prompts).unsqueeze(1).expand(prompts, group_size).contiguous()
        rows = rows.reshape(-1)
        line = torch.arange(len(rows))
        rows["logged"] = torch.where(line < logged_groups * group_size, line, -1)
        with self.run_log.scoring():
            decoupled = config.collector.max_lag > 0 and self._source != old_log_probs.ENGINE
            old_log_probs.before_updates(rows, self._source, self.module.score, decoupled=decoupled)
        unit = group_size if config.mini_batch_size % group_size == 0 else 1
        units = rows.reshape(-1, unit)
        # torchrl's buffer: rollouts stay in its vocabulary from the engine to the update
        buffer = TensorDictReplayBuffer(
            storage=LazyTensorStorage(len(units)),
            sampler=SamplerWithoutReplacement(drop_last=False),
            batch_size=config.mini_batch_size // unit,
        )
        # every rank draws the same order, in this process or after a restart
        buffer.set_rng(torch.Generator().manual_seed(config.seed * 1_000_003 + self.rollout_step))
        buffer.extend(units)
        count = -(-len(units) // (config.mini_batch_size // unit))
        return [buffer.sample().select(*TRAINING_KEYS, strict=False).reshape(-1) for _ in range(count)]


class MiniBatches:
    """What Lightning iterates over."""

    def __init__(self, data: RolloutData) -> None:
        self.data = data

    def __iter__(self) -> Iterator[TensorDict]:
        while (batch := self.data.next_mini_batch()) is not None:
            yield batch

    def __len__(self) -> int:
        """More than any run takes. Without a length Lightning fetches one batch ahead, and would sample the next rollout step
        before the policy's last update."""
        return 2**40
