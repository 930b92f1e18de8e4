"""The arithmetic of a run: every batch size that follows from P, G and the mini-batch."""

from __future__ import annotations

from dataclasses import dataclass

from rltoolkit.errors import ConfigError
from rltoolkit.run.config import RunConfig


@dataclass(frozen=True, kw_only=True)
class StepPlan:
    """What follows from the sizes in the configuration."""

    responses_per_step: int
    optimizer_steps_per_rollout: int
    rollout_steps: int
    warmup_optimizer_steps: int


def step_plan(config: RunConfig) -> StepPlan:
    """Derive the batch sizes. Raises ConfigError when the mini-batch does not divide P x G."""
    responses = config.prompts_per_step * config.group_size
    if responses % config.mini_batch_size:
        raise ConfigError(
            f"mini_batch_size={config.mini_batch_size} must divide prompts_per_step x group_size = "
            f"{config.prompts_per_step} x {config.group_size} = {responses} responses"
        )
    updates = responses // config.mini_batch_size
    optimizer = config.optimizer
    return StepPlan(
        responses_per_step=responses,
        optimizer_steps_per_rollout=updates,
        rollout_steps=-(-config.trainer.max_steps // updates),
        warmup_optimizer_steps=optimizer.warmup_optimizer_steps or optimizer.warmup_rollout_steps * updates,
    )
