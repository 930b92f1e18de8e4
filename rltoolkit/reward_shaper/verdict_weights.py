"""Verdict weights: what right responses earn and what wrong ones lose are weighed apart.

    R' = positive R where the response is right, negative R where it is wrong

With rewards of +1 and -1 and no baseline this is Weighted-REINFORCE, whose ``positive`` of 0.1 keeps the policy from narrowing to the
answers that it gives already; 0 learns from mistakes alone, and ``negative=0`` from right responses alone.

Choose ``advantage_estimator=raw`` with it. Where the group's mean is the baseline the weights change the scale of all advantages of a
group and not the balance between right and wrong ones; where the deviation divides, too, they change nothing.

Source: Zhu et al., arXiv:2506.01347 (Weighted-REINFORCE). Config: ``reward_shaper=[verdict_weights] advantage_estimator=raw``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from rltoolkit.component import check
from rltoolkit.registry import register
from rltoolkit.rollout_batch import with_entries

if TYPE_CHECKING:
    from tensordict import TensorDict


@register("reward_shaper", "verdict_weights")
@dataclass(frozen=True, kw_only=True)
class VerdictWeights:
    """Reads ``correct``. Shapers that come before it are weighed, too.

    Args:
        positive: the weight of right responses, at least 0.
        negative: the weight of wrong responses, at least 0.
    """

    changes_reward: ClassVar[bool] = True
    positive: float = 0.1
    negative: float = 1.0

    def __post_init__(self) -> None:
        check(self, "positive", self.positive >= 0, "at least 0")
        check(self, "negative", self.negative >= 0, "at least 0")

    def __call__(self, rollouts: TensorDict) -> TensorDict:
        """rollouts [P, G] with ``correct`` and ``reward`` -> the same with a new ``reward``."""
        reward = rollouts["reward"]
        return with_entries(rollouts, reward=torch.where(rollouts["correct"], self.positive * reward, self.negative * reward))
