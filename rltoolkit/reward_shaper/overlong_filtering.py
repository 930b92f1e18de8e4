"""Overlong filtering: a response that was cut off trains nothing, since its reward says little about its reasoning.

    m_t = 0 for every token of a truncated response

Its tokens leave numerator and denominator of the loss. Its reward stays in the group's mean and deviation, unless the
advantage estimator has ``exclude_masked=true``.

Table 1 of the paper is cumulative: filtering first, the soft punishment on top of it. The released recipe and the paper's
best run have no filtering.

Source: DAPO, arXiv:2503.14476, section 3.4. Config: ``reward_shaper=[overlong_filtering]``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from rltoolkit.registry import register
from rltoolkit.rollout_batch import with_entries

if TYPE_CHECKING:
    from tensordict import TensorDict


@register("reward_shaper", "overlong_filtering")
@dataclass(frozen=True, kw_only=True)
class OverlongFiltering:
    """Changes ``loss_mask``, never ``reward``."""

    changes_reward: ClassVar[bool] = False

    def __call__(self, rollouts: TensorDict) -> TensorDict:
        """rollouts [P, G] with ``truncated`` and ``loss_mask`` -> the same with a new ``loss_mask``."""
        return with_entries(rollouts, loss_mask=rollouts["loss_mask"] & ~rollouts["truncated"].unsqueeze(-1))
