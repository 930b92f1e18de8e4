"""MaxRL: as in maximum likelihood, a prompt weighs more if few of its responses are correct.

    A_i = (c_i - mean(c)) / mean(c),   0 where no response is correct

c holds the verdicts of the G responses to one prompt, 1 or 0. Dividing by the success rate turns the gradient of the expected
reward into that of its logarithm. The division needs rewards of 0 and 1, so it reads ``correct``: reward shapers have no effect.

Source: Maximum Likelihood Reinforcement Learning, arXiv:2602.02710. Config: ``advantage_estimator=max_rl``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from rltoolkit.advantage_estimator.base import advantage, check_group_size, counted_rows, mean
from rltoolkit.registry import register

if TYPE_CHECKING:
    from tensordict import TensorDict
    from torch import Tensor


@register("advantage_estimator", "max_rl")
@dataclass(frozen=True, kw_only=True)
class MaxRL:
    """Mean-normalised verdicts.

    Args:
        exclude_masked: rows without a trained token leave the group's mean too, and get 0.
    """

    min_group_size: ClassVar[int] = 2
    reads_reward: ClassVar[bool] = False
    exclude_masked: bool = False

    def __call__(self, rollouts: TensorDict) -> Tensor:
        """rollouts [P, G] with ``correct`` -> float32 [P, G]."""
        check_group_size(self, rollouts)
        correct, counted = rollouts["correct"].double(), counted_rows(rollouts, self.exclude_masked)
        rate = mean(correct, counted)
        return advantage(torch.where(rate > 0, (correct - rate) / rate, 0), counted)
