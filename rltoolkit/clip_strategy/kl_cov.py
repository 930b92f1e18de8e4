"""KL-Cov: a penalty that keeps a few tokens close to the old policy, those whose update would cost the most entropy.

    loss = -r A, and -r A + coefficient |log r| for the selected tokens
    selected: the floor(fraction * tokens) of highest covariance (log p - mean log p) (A - mean A), p = exp(log_probs)

|log r| is the estimate of the divergence in the authors' released code; the paper writes KL(old || new).

Source: The Entropy Mechanism, arXiv:2505.22617, section 4.2, eq. 13 and 14; the defaults from section 4.3.
Config: ``clip_strategy=kl_cov``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from rltoolkit.clip_strategy._covariance import largest, token_covariance
from rltoolkit.clip_strategy.base import TokenLoss, masked_log_ratio, unclipped
from rltoolkit.component import check, check_tokens
from rltoolkit.registry import register

if TYPE_CHECKING:
    from torch import Tensor


@register("clip_strategy", "kl_cov")
@dataclass(frozen=True, kw_only=True)
class KLCov:
    """Penalises tokens of high covariance between log-prob and advantage.

    Args:
        fraction: of the step's trained tokens, how many are penalised; in [0, 1]. The default is the paper's for a 32B
            model (2e-3 for 7B).
        coefficient: scales the penalty; at least 0.
    """

    scope: ClassVar[str] = "step"

    fraction: float = 2e-4
    coefficient: float = 1.0

    def __post_init__(self) -> None:
        check(self, "fraction", 0 <= self.fraction <= 1, "in [0, 1]")
        check(self, "coefficient", self.coefficient >= 0, "at least 0")

    def select(self, log_probs: Tensor, old_log_probs: Tensor, advantages: Tensor, mask: Tensor) -> Tensor:
        """[N, T] bool, the tokens to penalise, from all rows of the step [N, T]; see ``StepClipStrategy``."""
        with torch.no_grad():
            check_tokens(self, log_probs=log_probs, old_log_probs=old_log_probs, advantages=advantages, mask=mask)
            covariance = token_covariance(log_probs, advantages, mask)
            return largest(covariance, mask, self.fraction * mask.sum().double())

    def __call__(
        self, log_probs: Tensor, old_log_probs: Tensor, advantages: Tensor, mask: Tensor, *, selected: Tensor | None = None
    ) -> TokenLoss:
        """All arguments [N, T]; no token is marked as clipped."""
        if selected is None:
            selected = self.select(log_probs, old_log_probs, advantages, mask)
        check_tokens(self, log_probs=log_probs, old_log_probs=old_log_probs, advantages=advantages, mask=mask, selected=selected)
        log_ratio = masked_log_ratio(log_probs, old_log_probs, mask)
        penalty = self.coefficient * torch.where(selected, log_ratio.abs(), 0.0)
        return unclipped(penalty - log_ratio.exp() * advantages, mask)
