"""Unbiased k3: k3 on samples of another policy, weighed by the ratio, so that value and gradient are those of the KL on average.

    penalty = r (exp(-d) + d - 1),   d = log_probs - reference_log_probs,   r = exp(log_probs - old_log_probs)

The gradient flows through the ratio, too: r d grad log_probs, whose average over samples of the old policy is the gradient of
KL(policy || reference). Without r, k3 has that of KL(reference || policy), which grows without bound where the policy has nearly
given up a token of the reference, and it is wrong after the first update of a rollout step. The ratio is not clipped.

Where the KL lowers the reward the policy is the one that sampled: r = 1, and this is k3.

Source: DeepSeek-V3.2, arXiv:2512.02556, section 3.1 (unbiased KL estimate). Config: ``kl_penalty=unbiased_k3``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from rltoolkit.component import check, check_tokens
from rltoolkit.kl_penalty.base import Reference
from rltoolkit.registry import register

if TYPE_CHECKING:
    from torch import Tensor


@register("kl_penalty", "unbiased_k3")
@dataclass(frozen=True, kw_only=True)
class UnbiasedK3:
    """k3, for an objective that multiplies it by the ratio.

    Args:
        coefficient: scales the term in the objective; at least 0. The default is GRPO's beta.
    """

    reference: ClassVar[Reference] = "model"
    weighed_by_ratio: ClassVar[bool] = True

    coefficient: float = 0.04

    def __post_init__(self) -> None:
        check(self, "coefficient", self.coefficient >= 0, "at least 0")

    def __call__(self, log_probs: Tensor, reference_log_probs: Tensor) -> Tensor:
        """Both arguments and the result [N, T], before the ratio."""
        check_tokens(self, log_probs=log_probs, reference_log_probs=reference_log_probs)
        log_ratio = log_probs - reference_log_probs
        return (-log_ratio).exp() + log_ratio - 1
