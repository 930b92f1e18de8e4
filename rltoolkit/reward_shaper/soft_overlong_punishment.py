"""Soft overlong punishment: a penalty that grows over the last stretch before the length limit.

    R' = R + factor * clamp(((L_max - L_cache) - |y|) / L_cache, -1, 0)

|y| is the response's length in tokens, L_max = ``max_length`` the soft limit, L_cache = ``cache_length`` the stretch before it:
nothing up to L_max - L_cache, then linear, -factor from L_max on. It acts on the reward, before any group normalisation, and
leaves ``correct`` alone.

Source: DAPO, arXiv:2503.14476, section 3.4, eq. 13. Config: ``reward_shaper=[soft_overlong_punishment]``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from rltoolkit.component import check, follows
from rltoolkit.registry import register
from rltoolkit.rollout_batch import with_entries

if TYPE_CHECKING:
    from tensordict import TensorDict


@register("reward_shaper", "soft_overlong_punishment")
@dataclass(frozen=True, kw_only=True)
class SoftOverlongPunishment:
    """The paper generates up to 20,480 tokens and punishes those beyond 16,384.

    Args:
        max_length: L_max in tokens, at least 2.
        cache_length: L_cache in tokens, from 1 to below ``max_length``.
        factor: the largest penalty, at least 0.
    """

    changes_reward: ClassVar[bool] = True
    max_length: int = follows("sampling.max_new_tokens", 20_480)
    cache_length: int = follows("cache_length", 4096)
    factor: float = 1.0

    def __post_init__(self) -> None:
        check(self, "max_length", self.max_length >= 2, "at least 2")
        check(self, "cache_length", 1 <= self.cache_length < self.max_length, f"in [1, max_length={self.max_length})")
        check(self, "factor", self.factor >= 0, "at least 0")

    def __call__(self, rollouts: TensorDict) -> TensorDict:
        """rollouts [P, G] with ``response_length`` and ``reward`` -> the same with a new ``reward``."""
        room = self.max_length - self.cache_length - rollouts["response_length"]  # tokens left before the stretch begins
        penalty = (room / self.cache_length).clamp(-1, 0)
        return with_entries(rollouts, reward=rollouts["reward"] + self.factor * penalty)
