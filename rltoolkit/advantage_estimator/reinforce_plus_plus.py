"""REINFORCE++: rewards normalised over the whole rollout batch, without a baseline of the group.

    A_i = (R_i - mean(R)) / (std(R) + eps),   mean and std over all sampled tokens of the batch

Every token carries its response's reward, so a long response weighs more in mean and std than a short one. So it is in the
authors' code (OpenRLHF, ``experience_maker.py``) and in verl (``compute_reinforce_plus_plus_outcome_advantage``).
``weigh_by_length=false`` counts each response once.

It works with one response to a prompt. Easy prompts push all their responses up. The paper's KL term inside the reward, k1 token
by token, is ``kl_in_reward=true kl_penalty=k1`` here, summed over the response.

Source: REINFORCE++, arXiv:2501.03262 (global advantage normalisation).
Config: ``advantage_estimator=reinforce_plus_plus``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from rltoolkit.advantage_estimator._whitening import whitened
from rltoolkit.advantage_estimator.base import advantage, checked_rewards, counted_rows
from rltoolkit.component import check
from rltoolkit.registry import register

if TYPE_CHECKING:
    from tensordict import TensorDict
    from torch import Tensor


@register("advantage_estimator", "reinforce_plus_plus")
@dataclass(frozen=True, kw_only=True)
class ReinforcePlusPlus:
    """Must see the whole rollout batch: a part of it has another mean and deviation.

    Args:
        eps: added to the deviation, above 0. (OpenRLHF keeps the variance above 1e-8 instead.)
        weigh_by_length: count every sampled token; else every response, with a Bessel-corrected deviation.
        exclude_masked: rows without a trained token leave mean and deviation too, and get 0.
    """

    min_group_size: ClassVar[int] = 1
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
        length = rollouts["response_length"]
        return advantage(whitened(reward, counted, length, weigh_by_length=self.weigh_by_length, eps=self.eps), counted)
