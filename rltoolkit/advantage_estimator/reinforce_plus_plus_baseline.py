"""REINFORCE++ with a baseline: the group's mean first, then normalisation of what is left over the whole rollout batch.

    C_i = R_i - mean over the group of R
    A_i = (C_i - mean(C)) / (std(C) + eps),   mean and std over all sampled tokens of the batch

As in ``reinforce_plus_plus`` a long response weighs more in mean(C) and std(C); the group's mean counts each response once. So
mean(C) is not 0 where right and wrong responses differ in length, and a group of equal rewards gets -mean(C) / std(C), the same
for all its responses, rather than 0. The authors' code (OpenRLHF, ``experience_maker.py``) and verl
(``compute_reinforce_plus_plus_baseline_outcome_advantage``) do so, too. With ``weigh_by_length=false`` each response counts
once: mean(C) is 0, and so is the advantage in a group of equal rewards.

Source: REINFORCE++, arXiv:2501.03262 (REINFORCE++ with baseline).
Config: ``advantage_estimator=reinforce_plus_plus_baseline``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from rltoolkit.advantage_estimator._whitening import whitened
from rltoolkit.advantage_estimator.base import advantage, checked_rewards, counted_rows, mean
from rltoolkit.component import check
from rltoolkit.registry import register

if TYPE_CHECKING:
    from tensordict import TensorDict
    from torch import Tensor


@register("advantage_estimator", "reinforce_plus_plus_baseline")
@dataclass(frozen=True, kw_only=True)
class ReinforcePlusPlusBaseline:
    """Must see the whole rollout batch: a part of it has another mean and deviation.

    Args:
        eps: added to the deviation, above 0. (OpenRLHF keeps the variance above 1e-8 instead.)
        weigh_by_length: count every sampled token; else every response, with a Bessel-corrected deviation.
        exclude_masked: rows without a trained token leave means and deviation too, and get 0.
    """

    min_group_size: ClassVar[int] = 2
    reads_reward: ClassVar[bool] = True
    eps: float = 1e-6
    weigh_by_length: bool = True
    exclude_masked: bool = False

    def __post_init__(self) -> None:
        check(self, "eps", self.eps > 0, "above 0")

    def __call__(self, rollouts: TensorDict) -> Tensor:
        """rollouts [P, G] with ``reward`` and ``response_length`` -> float32 [P, G].

        Raises:
            ValueError: a reward is not finite.
        """
        reward, counted = checked_rewards(self, rollouts), counted_rows(rollouts, self.exclude_masked)
        centered, length = reward - mean(reward, counted), rollouts["response_length"]
        return advantage(whitened(centered, counted, length, weigh_by_length=self.weigh_by_length, eps=self.eps), counted)
