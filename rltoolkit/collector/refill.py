"""How rollout steps are filled, and refilled when sampler filters reject groups: the config section ``collector``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rltoolkit.component import check

AT_LIMIT = ("raise", "train_partial", "fill_with_rejected")
"""What can happen when the generation limit is reached before P groups are kept: the run stops; the step trains on the groups
that were kept; rejected groups fill the step."""


@dataclass(kw_only=True)
class Refill:
    """How far a rollout step goes to find P groups that pass the filters, and what becomes of those beyond P."""

    section: ClassVar[str] = "collector"

    max_generation_batches: int = 10
    """at most this many times P G responses are generated in one rollout step"""
    at_limit: str = "train_partial"
    """one of ``AT_LIMIT``"""
    carry_surplus: bool = True
    """kept groups beyond P go to the next step; False: a step ends with its P-th, and prompts beyond it are sampled again"""
    max_carried_age: int = 1
    """rollout steps after which a carried group is dropped"""
    pilot_size: int = 0
    """responses of a group that are sampled first, to finish it only if the filters would keep them; 0: whole groups at once"""
    max_lag: int = 0
    """rollout steps that sampling runs ahead of training, with weights that are so much older; 0: every step is on-policy"""

    def __post_init__(self) -> None:
        check(self, "max_generation_batches", self.max_generation_batches >= 1, "at least 1")
        check(self, "at_limit", self.at_limit in AT_LIMIT, f"one of {', '.join(AT_LIMIT)}")
        check(self, "max_carried_age", self.max_carried_age >= 0, "at least 0")
        check(self, "max_lag", self.max_lag >= 0, "at least 0")
        check(self, "pilot_size", self.pilot_size == 0 or self.pilot_size > 1, "0 or at least 2: one response is never mixed")
        whole = not self.pilot_size or self.at_limit != "fill_with_rejected"
        check(self, "pilot_size", whole, "0 with collector.at_limit=fill_with_rejected: a rejected pilot cannot fill a step")

    def pilot_of(self, group_size: int) -> int:
        """Responses that are sampled at once, of G: the pilot's, or all. Raises ValueError where pilots do not divide a group."""
        fits = not self.pilot_size or (self.pilot_size < group_size and group_size % self.pilot_size == 0)
        sizes = ", ".join(str(size) for size in range(2, group_size) if group_size % size == 0)
        check(self, "pilot_size", fits, f"a proper divisor of group_size={group_size} ({sizes or 'there is none'}), or 0")
        return self.pilot_size or group_size

    @property
    def head_start(self) -> float:
        """The first batch is larger than needed on average, by this many standard deviations.

        Surplus groups are kept for the next step, so they cost almost nothing.
        """
        return 0.5 if self.carry_surplus else 0.0
