"""Accuracy range: keep the prompts that are neither too hard nor too easy for the policy as it is.

    keep iff low < (number correct) / G < high

An accuracy equal to a bound is not kept; with bounds 0 and 1 this is dynamic sampling.

Source: DAPO, arXiv:2503.14476, section 3.2, eq. 11, with bounds to choose, as OpenRLHF's ``dynamic_filtering_reward_range``.
Config: ``sampler_filter=[accuracy_range]``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from rltoolkit.component import check
from rltoolkit.registry import register

if TYPE_CHECKING:
    from tensordict import TensorDict
    from torch import Tensor


@register("sampler_filter", "accuracy_range")
@dataclass(frozen=True, kw_only=True)
class AccuracyRange:
    """Reads ``correct``, as dynamic sampling does.

    Args:
        low: accuracies up to this one are too hard, in [0, 1).
        high: accuracies from this one on are too easy, above ``low``, at most 1.
    """

    min_group_size: ClassVar[int] = 2
    low: float = 0.1
    high: float = 0.9

    def __post_init__(self) -> None:
        check(self, "low", 0 <= self.low < 1, "in [0, 1)")
        check(self, "high", self.low < self.high <= 1, f"in (low={self.low}, 1]")

    def __call__(self, rollouts: TensorDict) -> Tensor:
        """rollouts [P, G] with ``correct`` -> bool [P]."""
        # In float64, so that 1 of 10 is the same number as a bound written 0.1.
        accuracy = rollouts["correct"].sum(1).double() / rollouts.shape[1]
        return (self.low < accuracy) & (accuracy < self.high)
