"""The contract of a reward shaper: rollouts in, rollouts with another reward or loss mask out."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Protocol

if TYPE_CHECKING:
    from tensordict import TensorDict


class RewardShaper(Protocol):
    """``shaper(rollouts [P, G]) -> rollouts`` with a new ``reward`` and/or ``loss_mask``; the input is not changed.

    ``changes_reward`` is False where it is the mask alone: such a shaper acts with every advantage estimator, the others act with
    those that read the reward.
    """

    changes_reward: ClassVar[bool]

    def __call__(self, rollouts: TensorDict) -> TensorDict: ...
