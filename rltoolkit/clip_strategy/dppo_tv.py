"""DPPO-TV: drop a token whose probability, rather than its ratio, has moved too far.

    loss = -M r A,   M = 0 where |p - p_old| > delta and the advantage pushes p further away, else 1

p = exp(log_probs). |p - p_old| is the total variation between old and new policy, both reduced to "this token" and "any other".
A rare token may become many times as likely; a frequent one may not lose much probability, even if its ratio stays near 1.

Source: DPPO, arXiv:2602.04879, sections 4.3 (mask) and 4.4 (binary approximation); there the old policy is the one that sampled.
Config: ``clip_strategy=dppo_tv``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from rltoolkit.clip_strategy.base import TokenLoss, masked_log_ratio, without_gradient
from rltoolkit.component import check, check_tokens
from rltoolkit.registry import register

if TYPE_CHECKING:
    from torch import Tensor


@register("clip_strategy", "dppo_tv")
@dataclass(frozen=True, kw_only=True)
class DPPOTV:
    """A trust region on the probability itself.

    Args:
        delta: how far a token's probability may move; in [0, 1]. The default is that of verl's example script; the paper
            uses it with LoRA, and 0.2 in its other large experiments.
    """

    scope: ClassVar[str] = "token"

    delta: float = 0.15

    def __post_init__(self) -> None:
        check(self, "delta", 0 <= self.delta <= 1, "in [0, 1]")

    def __call__(self, log_probs: Tensor, old_log_probs: Tensor, advantages: Tensor, mask: Tensor) -> TokenLoss:
        """All arguments [N, T]; a dropped token's loss is 0."""
        check_tokens(self, log_probs=log_probs, old_log_probs=old_log_probs, advantages=advantages, mask=mask)
        ratio = masked_log_ratio(log_probs, old_log_probs, mask).exp()
        shift = log_probs.detach().exp() - old_log_probs.exp()
        return without_gradient(
            -ratio * advantages,
            mask,
            clipped_low=mask & (shift < -self.delta) & (advantages < 0),
            clipped_high=mask & (shift > self.delta) & (advantages > 0),
        )
