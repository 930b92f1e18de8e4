"""On-policy (REINFORCE): no ratio at all, for data that the policy being trained has just sampled.

    loss = -A log_probs

It is right when each rollout step makes one optimizer step. With more, the later ones are off-policy, and nothing corrects that.

Source: REINFORCE, 1992 (Williams, doi:10.1007/BF00992696), section 4; GPG, arXiv:2504.02546 (for language models).
Config: ``clip_strategy=on_policy``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from rltoolkit.clip_strategy.base import TokenLoss, unclipped
from rltoolkit.component import check_tokens
from rltoolkit.registry import register

if TYPE_CHECKING:
    from torch import Tensor


@register("clip_strategy", "on_policy")
@dataclass(frozen=True, kw_only=True)
class OnPolicy:
    """The log-probability weighted by the advantage."""

    scope: ClassVar[str] = "token"

    def __call__(self, log_probs: Tensor, old_log_probs: Tensor, advantages: Tensor, mask: Tensor) -> TokenLoss:
        """All arguments [N, T]; ``old_log_probs`` does not enter, and no token is marked as clipped."""
        check_tokens(self, log_probs=log_probs, old_log_probs=old_log_probs, advantages=advantages, mask=mask)
        return unclipped(-advantages * torch.where(mask, log_probs, 0.0), mask)
