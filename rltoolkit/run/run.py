"""One run before it starts: its numbers and its components, checked against each other."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from rltoolkit import registry
from rltoolkit.kl_penalty import KLPenalty, NoPenalty
from rltoolkit.model import HuggingFace
from rltoolkit.objective import PolicyObjective
from rltoolkit.reward_function import RewardFunction, TimeLimited
from rltoolkit.run.components import Components
from rltoolkit.run.config import RunConfig
from rltoolkit.run.plan import StepPlan, step_plan
from rltoolkit.run.validate import validate


@dataclass(frozen=True, kw_only=True)
class Run:
    """What is going to be trained, and how. Making one loads nothing; ConfigError says why a run cannot be.

    Args:
        config: every key that is not a component's.
        components: one for each kind.
        stamps: what else belongs in run.json: which experiment and ablation were chosen, and the overrides.
    """

    config: RunConfig
    components: Components
    stamps: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        validate(self.config, self.components)

    def replace(self, **components: Any) -> Run:
        """The same run with other components: ``run.replace(reward_function=MyReward(), sampler_filter=(DynamicSampling(),))``.

        Any object that fits the kind's contract will do, registered or not.

        Raises:
            TypeError: no such kind.
            ConfigError: it contradicts the rest of the run.
        """
        return dataclasses.replace(self, components=dataclasses.replace(self.components, **components))

    @cached_property
    def plan(self) -> StepPlan:
        """The batch sizes that follow from the configuration."""
        return step_plan(self.config)

    @cached_property
    def objective(self) -> PolicyObjective:
        """What an optimizer step minimises."""
        chosen = self.components
        return PolicyObjective(
            clip_strategy=chosen.clip_strategy,
            loss_aggregator=chosen.loss_aggregator,
            kl_penalty=NoPenalty() if self.config.kl_in_reward else chosen.kl_penalty,
            importance_correction=chosen.importance_correction,
            entropy_coefficient=self.config.entropy_coefficient,
        )

    @property
    def reward_penalty(self) -> KLPenalty | None:
        """The KL penalty where it lowers the reward; the objective then has none."""
        return self.components.kl_penalty if self.config.kl_in_reward else None

    @property
    def needs_reference(self) -> bool:
        """Whether a frozen copy of the start has to be loaded."""
        return self.components.kl_penalty.reference == "model"

    @cached_property
    def teacher(self) -> HuggingFace | None:
        """The model that the advantage estimator compares the policy with, where it names one."""
        name = getattr(self.components.advantage_estimator, "teacher", None)
        return None if name is None else HuggingFace(name_or_path=name)

    @property
    def samples_in_background(self) -> bool:
        """Whether sampling goes on while training computes; with ``collector.max_lag`` another engine takes turns with it."""
        return self.config.collector.max_lag > 0 and getattr(self.components.rollout_engine, "samples_in_background", False)

    @cached_property
    def verifier(self) -> RewardFunction:
        """The reward function, under ``verifier_timeout`` where that is set."""
        return self._under_limit(self.components.reward_function)

    @cached_property
    def verifiers(self) -> dict[str, RewardFunction]:
        """Who judges each held-out task: ``verifier``, or what ``evaluation.verifiers`` names."""
        chosen = self.config.evaluation.verifiers
        return {
            task: self._under_limit(registry.build("reward_function", chosen[task])) if task in chosen else self.verifier
            for task in self.components.held_out
        }

    @cached_property
    def longest_row(self) -> int:
        """Tokens of the longest prompt and response, in training or evaluation: what an engine has to have room for."""
        sampling = self.config.sampling
        return sampling.max_prompt_tokens + max(sampling.max_new_tokens, self.config.evaluation.max_new_tokens)

    def _under_limit(self, function: RewardFunction) -> RewardFunction:
        seconds = self.config.verifier_timeout
        return function if seconds is None else TimeLimited(function=function, seconds=seconds)

    def record(self) -> dict[str, Any]:
        """The whole configuration as plain values, components included."""
        return {**dataclasses.asdict(self.config), **self.components.record()}
