"""Clip-Cov: no gradient for the few tokens whose update would cost the policy the most entropy.

    loss = -r A, and 0 for the selected tokens
    selected: the floor(fraction * tokens) of highest covariance (see ``kl_cov``) among those in [omega_low, omega_high]

The paper draws the selected tokens at random from that interval; here the highest come first, ties by position, so that a
run can be repeated and does not depend on how the step is split. At the default fraction of 2e-4 a step of fewer than 5,000
tokens selects none.

Source: The Entropy Mechanism, arXiv:2505.22617, section 4.2, eq. 11 and 12; the defaults from section 4.3.
Config: ``clip_strategy=clip_cov``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from rltoolkit.clip_strategy._covariance import largest, token_covariance
from rltoolkit.clip_strategy.base import TokenLoss, masked_log_ratio, without_gradient
from rltoolkit.component import check, check_tokens
from rltoolkit.registry import register

if TYPE_CHECKING:
    from torch import Tensor


@register("clip_strategy", "clip_cov")
@dataclass(frozen=True, kw_only=True)
class ClipCov:
    """Drops tokens of high covariance between log-prob and advantage.

    Args:
        fraction: of the step's trained tokens, how many are dropped; in [0, 1].
        omega_low: the lowest covariance that may be dropped.
        omega_high: the highest covariance that may be dropped; at least omega_low.
    """

    scope: ClassVar[str] = "step"

    fraction: float = 2e-4
    omega_low: float = 1.0
    omega_high: float = 5.0

    def __post_init__(self) -> None:
        check(self, "fraction", 0 <= self.fraction <= 1, "in [0, 1]")
        check(self, "omega_high", self.omega_high >= self.omega_low, f"at least omega_low={self.omega_low}")

    def select(self, log_probs: Tensor, old_log_probs: Tensor, advantages: Tensor, mask: Tensor) -> Tensor:
        """[N, T] bool, the tokens to drop, from all rows of the step [N, T]; see ``StepClipStrategy``."""
        with torch.no_grad():
            check_tokens(self, log_probs=log_probs, old_log_probs=old_log_probs, advantages=advantages, mask=mask)
            covariance = token_covariance(log_probs, advantages, mask)
            candidates = mask & (covariance >= self.omega_low) & (covariance <= self.omega_high)
            return largest(covariance, candidates, self.fraction * mask.sum().double())

    def __call__(
        self, log_probs: Tensor, old_log_probs: Tensor, advantages: Tensor, mask: Tensor, *, selected: Tensor | None = None
    ) -> TokenLoss:
        """All arguments [N, T]; a dropped token's loss is 0."""
        if selected is None:
            selected = self.select(log_probs, old_log_probs, advantages, mask)
        check_tokens(self, log_probs=log_probs, old_log_probs=old_log_probs, advantages=advantages, mask=mask, selected=selected)
        ratio = masked_log_ratio(log_probs, old_log_probs, mask).exp()
        dropped = mask & selected
        return without_gradient(
            -ratio * advantages, mask, clipped_low=dropped & (advantages < 0), clipped_high=dropped & (advantages > 0)
        )
