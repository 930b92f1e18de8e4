"""Off-policy mask: bad responses that the policy has already moved away from teach nothing more.

    loss = -M min(r A, clip(r, 1 - epsilon_low, 1 + epsilon_high) A),   r = exp(log_probs - old_log_probs)
    M    = 0 where A < 0 and -(sum over the row of log r) / |o| > delta, else 1

A response that became much less likely is no sample of today's policy any more. Pushing a good one up brings it back; pushing a bad
one further down gains nothing and moves probability about among responses that nobody sampled. Without the mask the clip alone
takes the gradient of tokens below the floor, and leaves it to the others of the row.

In the source the old policy is the engine's: ``trainer.old_log_probs=engine`` makes it so here.

Source: DeepSeek-V3.2, arXiv:2512.02556, section 3.1 (off-policy sequence masking). Config: ``clip_strategy=off_policy_mask``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from rltoolkit.clip_strategy.base import TokenLoss, clipped_surrogate, masked_log_ratio, row_mean
from rltoolkit.component import check, check_tokens
from rltoolkit.registry import register

if TYPE_CHECKING:
    from torch import Tensor


@register("clip_strategy", "off_policy_mask")
@dataclass(frozen=True, kw_only=True)
class OffPolicyMask:
    """Clip-Higher without the negative responses that have drifted away.

    Args:
        epsilon_low: the ratio's floor is 1 - epsilon_low; in [0, 1).
        epsilon_high: the ratio's ceiling is 1 + epsilon_high; at least 0.
        delta: nats a token by which a negative response may have become less likely; at least 0. The source gives no number; the
            default is TRL's.
    """

    scope: ClassVar[str] = "row"

    epsilon_low: float = 0.2
    epsilon_high: float = 0.28
    delta: float = 0.5

    def __post_init__(self) -> None:
        check(self, "epsilon_low", 0 <= self.epsilon_low < 1, "in [0, 1)")
        check(self, "epsilon_high", self.epsilon_high >= 0, "at least 0")
        check(self, "delta", self.delta >= 0, "at least 0")

    def __call__(self, log_probs: Tensor, old_log_probs: Tensor, advantages: Tensor, mask: Tensor) -> TokenLoss:
        """All arguments [N, T]; tokens of a masked row are marked as clipped below."""
        check_tokens(self, log_probs=log_probs, old_log_probs=old_log_probs, advantages=advantages, mask=mask)
        log_ratio = masked_log_ratio(log_probs, old_log_probs, mask)
        surrogate = clipped_surrogate(log_ratio.exp(), advantages, mask, 1 - self.epsilon_low, 1 + self.epsilon_high)
        dropped = mask & (advantages < 0) & (-row_mean(log_ratio, mask) > self.delta)
        return TokenLoss(torch.where(dropped, 0.0, surrogate.loss), surrogate.clipped_low | dropped, surrogate.clipped_high)
