"""The contract of a reward shaper: rollouts in, rollouts with another reward or loss mask out."""

from __future__ import annotations

from typing import Protocol

from tensordict import TensorDict


class RewardShaper(Protocol):
    """``shaper(rollouts [P, G]) -> rollouts`` with a new ``reward`` and/or ``loss_mask``; the input is not changed."""

    def __call__(self, rollouts: TensorDict) -> TensorDict: ...
