"""What the collector hands out, a rollout step, and what it keeps between two of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rltoolkit.collector.counters import Counters
from rltoolkit.collector.prompt_stream import PromptState

if TYPE_CHECKING:
    from tensordict import TensorDict


@dataclass
class CollectedStep:
    """One rollout step: [P, G] rollouts and its counters. They have advantages, and are ready to train on, once it is finished.

    ``sampled`` holds every group generated in the step, rejected ones included, without their tokens: what accuracy, length and
    truncation are measured on, since the kept groups are a biased sample of the policy. With pilots it is [n, pilot_size], the first
    responses of each group: the others are sampled only where these differ.
    """

    rollouts: TensorDict
    sampled: TensorDict
    counters: Counters
    seconds: float
    """wall time of sampling, verifying, shaping and filtering, and of the KL where it lowers the reward"""
    seconds_verification: float
    """of these, what this process waited for the reward function; an engine in a process of its own samples on meanwhile"""
    state_after: CollectorState
    """where the collector goes on once this step is accepted"""
    seconds_waited: float = 0.0
    """for which training stood still until the step was there"""
    rejected: tuple[Group, ...] = ()
    """the first groups of the stream that were thrown away, with their tokens, for a reader"""


@dataclass
class Group:
    """A sampled and judged group."""

    position: int
    """in the stream of prompts"""
    rollouts: TensorDict
    """[G], or [pilot_size] where the pilot was rejected"""
    keep: bool
    """whether it passed every filter"""
    sampled_in: int
    """rollout steps that were complete when it was sampled"""

    @property
    def fate(self) -> str:
        """``kept``, or why it was rejected: ``all_correct``, ``all_wrong`` or ``other``."""
        correct = self.rollouts["correct"]
        if self.keep:
            return "kept"
        if correct.all():
            return "all_correct"
        return "other" if correct.any() else "all_wrong"


@dataclass(frozen=True, kw_only=True)
class CollectorState:
    """What has to survive a restart."""

    position: int = 0
    rollout_step: int = 0
    accepted: float
    """groups kept in earlier steps, weighed with ACCEPTANCE_MEMORY"""
    judged: float
    """groups sampled in earlier steps, likewise"""
    carried: tuple[Group, ...] = ()
    prompts: PromptState
    """what the groups of earlier steps have shown of the prompts"""
