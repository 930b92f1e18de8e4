"""Linear length penalty: every token of a response costs the same.

    R' = R - factor * min(|y| / max_length, 1)

|y| is the response's length in tokens. The soft overlong punishment only affects the longest responses; this one prefers
the shorter of any two correct responses.

Source: L1, arXiv:2503.04697, section 3, eq. 1 (the length term of LCPO-Exact), with a target length of 0, as a share of the
limit. Config: ``reward_shaper=[linear_length_penalty]``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from rltoolkit.component import check, follows
from rltoolkit.registry import register
from rltoolkit.rollout_batch import with_entries

if TYPE_CHECKING:
    from tensordict import TensorDict


@register("reward_shaper", "linear_length_penalty")
@dataclass(frozen=True, kw_only=True)
class LinearLengthPenalty:
    """Keep ``factor`` below the distance between a right and a wrong reward (2), or short and wrong beats long and right.

    Args:
        max_length: tokens at which the penalty is full, at least 1.
        factor: the full penalty, at least 0.
    """

    changes_reward: ClassVar[bool] = True
    max_length: int = follows("sampling.max_new_tokens", 20_480)
    factor: float = 0.5

    def __post_init__(self) -> None:
        check(self, "max_length", self.max_length >= 1, "at least 1")
        check(self, "factor", self.factor >= 0, "at least 0")

    def __call__(self, rollouts: TensorDict) -> TensorDict:
        """rollouts [P, G] with ``response_length`` and ``reward`` -> the same with a new ``reward``."""
        used = (rollouts["response_length"] / self.max_length).clamp(max=1)
        return with_entries(rollouts, reward=rollouts["reward"] - self.factor * used)
