"""The contract of a reward shaper: rollouts in, rollouts with another reward or loss mask out."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Protocol

if TYPE_CHECKING:
    from tensordict import TensorDict


class RewardShaper(Protocol):
    """``shaper(rollouts [P, G]) -> rollouts`` with a new ``reward`` and/or ``loss_mask``; the input is not changed."""

    changes_reward: ClassVar[bool]
    """False if only ``loss_mask`` changes. A shaper that changes the reward has no effect with estimators that ignore it (``max_rl``,
    ``pass_at_k``); such runs are refused."""

    def __call__(self, rollouts: TensorDict) -> TensorDict:
        """A copy of the rollouts [P, G] with the reward, the loss mask or both changed."""
        ...
