"""Group-normalized (GRPO, DAPO): how many deviations a response is above the mean of its group.

    A_i = (R_i - mean(R)) / (std(R) + eps)

R holds the rewards of the G responses to one prompt. A group of equal rewards gets exactly 0.

Peers differ in the deviation: Bessel-corrected with eps 1e-4 (TRL) or 1e-9 (OpenRLHF), population with 1e-8 (open-instruct).

Source: GRPO, arXiv:2402.03300, section 4.1.2; DAPO, arXiv:2503.14476, eq. 9. Config: ``advantage_estimator=group_normalized``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from rltoolkit.advantage_estimator.base import advantage, checked_rewards, counted_rows, deviation, mean
from rltoolkit.component import check
from rltoolkit.registry import register

if TYPE_CHECKING:
    from tensordict import TensorDict
    from torch import Tensor


@register("advantage_estimator", "group_normalized")
@dataclass(frozen=True, kw_only=True)
class GroupNormalized:
    """The estimator of GRPO and DAPO.

    Args:
        eps: added to the deviation, above 0.
        bessel: divide the squares by G - 1 rather than by G.
        exclude_masked: rows without a trained token leave the group's mean and deviation too, and get 0.
    """

    min_group_size: ClassVar[int] = 2
    reads_reward: ClassVar[bool] = True
    eps: float = 1e-6
    bessel: bool = True
    exclude_masked: bool = False

    def __post_init__(self) -> None:
        check(self, "eps", self.eps > 0, "above 0")

    def __call__(self, rollouts: TensorDict) -> Tensor:
        """rollouts [P, G] with ``reward`` -> float32 [P, G]. Raises ValueError for a reward that is not finite."""
        reward, counted = checked_rewards(self, rollouts), counted_rows(rollouts, self.exclude_masked)
        centered = reward - mean(reward, counted)
        return advantage(centered / (deviation(centered, counted, bessel=self.bessel) + self.eps), counted)
