"""Truncation limit: leave out the groups in which too many responses ran into the length limit.

    keep iff |{i : o_i is truncated}| / G <= max_fraction

A truncated response is judged wrong whatever it was about to say, so in such a group the advantages compare lengths rather
than answers. Overlong filtering masks these responses one by one and leaves their rewards in the group's mean; here the
whole group goes, and another is sampled in its place. Nothing is learned from a group left out, not even to be brief.

Source: the aim of DAPO's overlong filtering, arXiv:2503.14476, section 3.4, for groups instead of responses.
Config: ``sampler_filter=[truncation_limit]``.
"""

from __future__ import annotations

from dataclasses import dataclass

from tensordict import TensorDict
from torch import Tensor

from rltoolkit.component import check
from rltoolkit.registry import register


@register("sampler_filter", "truncation_limit")
@dataclass(frozen=True, kw_only=True)
class TruncationLimit:
    """Reads ``truncated``, whatever the verdicts.

    Args:
        max_fraction: of a group's responses, how many may be truncated; in [0, 1], where 1 keeps every group.
    """

    max_fraction: float = 0.5

    def __post_init__(self) -> None:
        check(self, "max_fraction", 0 <= self.max_fraction <= 1, "in [0, 1]")

    def __call__(self, rollouts: TensorDict) -> Tensor:
        """rollouts [P, G] with ``truncated`` -> bool [P]."""
        # In float64, so that 1 of 10 is the same number as a limit written 0.1.
        return rollouts["truncated"].sum(1).double() / rollouts.shape[1] <= self.max_fraction
