"""REINFORCE++: rewards normalised over the whole rollout batch, without a baseline of the group.

    A_i = (R_i - mean over the batch of R) / (std over the batch of R + eps)

It works with one response to a prompt; easy prompts push all their responses up. The deviation is Bessel-corrected. The paper's
KL term inside the reward, k1 token by token, is ``kl_in_reward=true kl_penalty=k1`` here, summed over the response.

Source: REINFORCE++, arXiv:2501.03262 (global advantage normalisation).
Config: ``advantage_estimator=reinforce_plus_plus``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from rltoolkit.advantage_estimator.base import Scope, advantage, checked_rewards, counted_rows, deviation, mean
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
        eps: added to the deviation, above 0.
        exclude_masked: rows without a trained token leave mean and deviation too, and get 0.
    """

    min_group_size: ClassVar[int] = 1
    scope: ClassVar[Scope] = "step"
    reads_reward: ClassVar[bool] = True
    eps: float = 1e-6
    exclude_masked: bool = False

    def __post_init__(self) -> None:
        check(self, "eps", self.eps > 0, "above 0")

    def __call__(self, rollouts: TensorDict) -> Tensor:
        """rollouts [P, G] with ``reward`` -> float32 [P, G]. Raises ValueError for a reward that is not finite."""
        reward, counted = checked_rewards(self, rollouts), counted_rows(rollouts, self.exclude_masked)
        centered = reward - mean(reward, counted, dim=(0, 1))
        return advantage(centered / (deviation(centered, counted, dim=(0, 1)) + self.eps), counted)
