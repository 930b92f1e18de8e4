"""DPPO-KL: drop a token when the distribution over "this token" and "any other" has moved too far in KL divergence.

    loss = -M r A,   M = 0 where D > delta and the advantage pushes p further away, else 1
    D = p_old log(p_old / p) + (1 - p_old) log((1 - p_old) / (1 - p)),   p = exp(log_probs)

Source: DPPO, arXiv:2602.04879, sections 4.3 (mask) and 4.4 (binary approximation); there the old policy is the one that sampled.
Config: ``clip_strategy=dppo_kl``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from rltoolkit.clip_strategy.base import TokenLoss, masked_log_ratio, without_gradient
from rltoolkit.component import check, check_tokens
from rltoolkit.registry import register

if TYPE_CHECKING:
    from torch import Tensor


@register("clip_strategy", "dppo_kl")
@dataclass(frozen=True, kw_only=True)
class DPPOKL:
    """A trust region on the binary KL divergence.

    Args:
        delta: the largest divergence of a token that still trains, in nats; at least 0.
    """

    scope: ClassVar[str] = "token"

    delta: float = 0.05

    def __post_init__(self) -> None:
        check(self, "delta", self.delta >= 0, "at least 0")

    def __call__(self, log_probs: Tensor, old_log_probs: Tensor, advantages: Tensor, mask: Tensor) -> TokenLoss:
        """All arguments [N, T]; a dropped token's loss is 0."""
        check_tokens(self, log_probs=log_probs, old_log_probs=old_log_probs, advantages=advantages, mask=mask)
        log_ratio = masked_log_ratio(log_probs, old_log_probs, mask)
        far = mask & (_binary_kl(old_log_probs, log_probs.detach()) > self.delta)
        return without_gradient(
            -log_ratio.exp() * advantages,
            mask,
            clipped_low=far & (log_ratio < 0) & (advantages < 0),
            clipped_high=far & (log_ratio > 0) & (advantages > 0),
        )


def _binary_kl(old_log_probs: Tensor, log_probs: Tensor) -> Tensor:
    # The clamp keeps log(1 - p) finite for a token of probability 1.
    tiny = torch.finfo(log_probs.dtype).tiny
    old_other, other = (-old_log_probs.expm1()).clamp(min=tiny), (-log_probs.expm1()).clamp(min=tiny)
    return old_log_probs.exp() * (old_log_probs - log_probs) + old_other * (old_other.log() - other.log())
