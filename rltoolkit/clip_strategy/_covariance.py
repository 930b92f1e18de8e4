"""The statistic behind Clip-Cov and KL-Cov: which tokens drive the policy's entropy down the most."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor


def token_covariance(log_probs: Tensor, advantages: Tensor, mask: Tensor) -> Tensor:
    """[N, T]: each token's part of the covariance of log-prob and advantage over all trained tokens, 0 elsewhere.

    (log p - mean log p) (A - mean A): large for likely tokens that get rewarded and unlikely ones that get punished.
    Source: arXiv:2505.22617, section 4.2, eq. 10.
    """
    return _centered(log_probs, mask) * _centered(advantages, mask)


def largest(scores: Tensor, candidates: Tensor, count: Tensor) -> Tensor:
    """[N, T] bool: the ``count`` (a scalar, rounded down) candidates of the highest score, ties by position."""
    order = torch.where(candidates, scores, -torch.inf).flatten().argsort(descending=True, stable=True)
    rank = torch.empty_like(order).scatter(0, order, torch.arange(1, len(order) + 1, device=order.device))
    return candidates & (rank.view_as(scores) <= count)


def _centered(values: Tensor, mask: Tensor) -> Tensor:
    mean = torch.where(mask, values, 0.0).sum() / mask.sum().clamp(min=1)
    return torch.where(mask, values - mean, 0.0)
