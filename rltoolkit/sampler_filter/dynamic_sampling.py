"""Dynamic sampling: groups that are all correct or all wrong carry no gradient, so others are sampled in their place.

    keep iff 0 < |{i : o_i is correct}| < G

It counts ``correct``, the verifier's verdict, and not the reward: with a shaped reward the responses of a group that is all wrong
still differ in length, and training on those differences alone makes the policy collapse.

Source: DAPO, arXiv:2503.14476, section 3.2, eq. 11. Config: ``sampler_filter=[dynamic_sampling]``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from rltoolkit.registry import register

if TYPE_CHECKING:
    from tensordict import TensorDict
    from torch import Tensor


@register("sampler_filter", "dynamic_sampling")
@dataclass(frozen=True, kw_only=True)
class DynamicSampling:
    """Keeps the groups with both verdicts; a group of one is never kept."""

    min_group_size: ClassVar[int] = 2

    def __call__(self, rollouts: TensorDict) -> Tensor:
        """rollouts [P, G] with ``correct`` -> bool [P]."""
        count = rollouts["correct"].sum(1)
        return (count > 0) & (count < rollouts.shape[1])
