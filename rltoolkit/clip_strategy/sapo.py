"""SAPO: a smooth gate on the ratio instead of a hard clip: the gradient fades smoothly with the ratio's distance from 1.

    loss = -f(r) A,   f(r) = 4 / tau * sigmoid(tau (r - 1)),   tau = tau_pos where A > 0, else tau_neg

f has slope 1 at r = 1, so on fresh samples the gradient is that of ``no_clip``.

Source: SAPO, arXiv:2511.20347, section 3, eq. 5 and 6. Config: ``clip_strategy=sapo``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from rltoolkit.clip_strategy.base import TokenLoss, masked_log_ratio, unclipped
from rltoolkit.component import check, check_tokens
from rltoolkit.registry import register

if TYPE_CHECKING:
    from torch import Tensor


@register("clip_strategy", "sapo")
@dataclass(frozen=True, kw_only=True)
class SAPO:
    """A sigmoid gate with a temperature for each sign of the advantage.

    Args:
        tau_pos: how fast the gate closes for A > 0; above 0.
        tau_neg: how fast it closes for A < 0; above 0. Larger than tau_pos in the paper, since pushing a token down
            raises all the others at once.
    """

    scope: ClassVar[str] = "token"

    tau_pos: float = 1.0
    tau_neg: float = 1.05

    def __post_init__(self) -> None:
        check(self, "tau_pos", self.tau_pos > 0, "above 0")
        check(self, "tau_neg", self.tau_neg > 0, "above 0")

    def __call__(self, log_probs: Tensor, old_log_probs: Tensor, advantages: Tensor, mask: Tensor) -> TokenLoss:
        """All arguments [N, T]; no token loses its gradient, so none is marked."""
        check_tokens(self, log_probs=log_probs, old_log_probs=old_log_probs, advantages=advantages, mask=mask)
        ratio = masked_log_ratio(log_probs, old_log_probs, mask).exp()
        tau = torch.full_like(ratio, self.tau_neg).masked_fill(advantages > 0, self.tau_pos)
        gate = 4 / tau * torch.sigmoid(tau * (ratio - 1))
        return unclipped(-gate * advantages, mask)
