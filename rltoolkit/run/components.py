"""The components of one run, one field for each kind."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from rltoolkit.advantage_estimator.base import AdvantageEstimator
from rltoolkit.clip_strategy.base import ClipStrategy, StepClipStrategy
from rltoolkit.component import name_of
from rltoolkit.importance_correction.base import ImportanceCorrection
from rltoolkit.kl_penalty.base import KLPenalty
from rltoolkit.loss_aggregator.base import LossAggregator
from rltoolkit.model.base import ModelSource
from rltoolkit.prompt_sampler.base import LearningPromptSampler, PromptSampler
from rltoolkit.reward_function.base import RewardFunction
from rltoolkit.reward_shaper.base import RewardShaper
from rltoolkit.rollout_engine.base import RolloutEngineSpec
from rltoolkit.sampler_filter.base import SamplerFilter
from rltoolkit.task.base import Task
from rltoolkit.weight_transfer.base import WeightTransfer


@dataclass(frozen=True, kw_only=True)
class Components:
    """Any objects that fit the kinds' contracts, registered or not."""

    task: Task
    eval_task: tuple[Task, ...]
    """what is evaluated while training; empty: the held-out split of ``task``"""
    prompt_sampler: PromptSampler | LearningPromptSampler
    model: ModelSource
    rollout_engine: RolloutEngineSpec
    weight_transfer: WeightTransfer
    reward_function: RewardFunction
    reward_shaper: tuple[RewardShaper, ...]
    sampler_filter: tuple[SamplerFilter, ...]
    advantage_estimator: AdvantageEstimator
    clip_strategy: ClipStrategy | StepClipStrategy
    loss_aggregator: LossAggregator
    kl_penalty: KLPenalty
    importance_correction: ImportanceCorrection

    @property
    def held_out(self) -> dict[str, Task]:
        """The tasks of evaluations by name; the first one's accuracy says which checkpoint is the best."""
        return {name_of(task): task for task in self.eval_task or (self.task,)}

    def record(self) -> dict[str, Any]:
        """Each component as plain values, its class under ``_target_``: what run.json holds of it."""
        values: dict[str, Any] = {}
        for field in dataclasses.fields(self):
            chosen = getattr(self, field.name)
            if isinstance(chosen, tuple):
                values[field.name] = {name_of(each): _record(each) for each in chosen}
            else:
                values[field.name] = _record(chosen)
        return values


def _record(component: object) -> dict[str, Any]:
    cls = type(component)
    fields = dataclasses.fields(component) if dataclasses.is_dataclass(component) else ()
    return {"_target_": f"{cls.__module__}.{cls.__qualname__}"} | {each.name: getattr(component, each.name) for each in fields}
