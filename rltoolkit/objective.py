"""The objective of one optimizer step, composed of the four objective kinds.

    loss = sum over tokens of weight * (rho * clip_loss + beta * KL - c * entropy)

``weight`` is the loss aggregator's (of the whole step, hence a plain sum here), ``rho`` the importance correction's,
``beta`` the KL penalty's coefficient and ``c`` the entropy coefficient. Losses and metrics of micro-batches and ranks add up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import torch

from rltoolkit.clip_strategy import ClipStrategy, StepClipStrategy, TokenLoss
from rltoolkit.component import check_tokens, label
from rltoolkit.importance_correction import ImportanceCorrection, NoCorrection
from rltoolkit.kl_penalty import KLPenalty, NoPenalty
from rltoolkit.loss_aggregator import LossAggregator

if TYPE_CHECKING:
    from torch import Tensor


class ObjectiveOutput(NamedTuple):
    """What the objective returns."""

    loss: Tensor
    """scalar, minimised; the part of the step's loss that the rows at hand contribute"""
    sums: dict[str, Tensor]
    """scalars without gradient: sums over the trained tokens, which add up over micro-batches and ranks"""
    maxima: dict[str, Tensor]
    """scalars without gradient: the largest over the trained tokens, which combine by maximum"""
    tokens: dict[str, Tensor]
    """[N, T] without gradient, 0 where nothing trains: ``ratio``, ``clipped_low``, ``clipped_high``, and ``entropy`` where given"""


@dataclass(frozen=True, kw_only=True)
class PolicyObjective:
    """Composes a clip strategy, a loss aggregator, a KL penalty and an importance correction; DAPO has neither of the last two."""

    clip_strategy: ClipStrategy | StepClipStrategy
    loss_aggregator: LossAggregator
    kl_penalty: KLPenalty = field(default_factory=NoPenalty)
    importance_correction: ImportanceCorrection = field(default_factory=NoCorrection)
    entropy_coefficient: float = 0.0

    def __call__(
        self,
        *,
        log_probs: Tensor,
        old_log_probs: Tensor,
        advantages: Tensor,
        mask: Tensor,
        weights: Tensor,
        rollout_log_probs: Tensor,
        reference_log_probs: Tensor | None = None,
        entropy: Tensor | None = None,
        selected: Tensor | None = None,
    ) -> ObjectiveOutput:
        """The loss and metrics of the N rows at hand.

        Args:
            log_probs: [N, T] under the policy being trained; carries the gradient.
            old_log_probs: [N, T] under the policy at the start of the update.
            advantages: [N], or [N, T] where tokens differ.
            mask: [N, T] bool, the tokens that train; whatever stands elsewhere in the other arguments is ignored.
            weights: [N, T] ``loss_aggregator.weights(mask, totals)``, with the totals of the whole step.
            rollout_log_probs: [N, T] as the rollout engine reported them.
            reference_log_probs: [N, T]; needed where ``kl_penalty.reference`` is "model".
            entropy: [N, T] of the policy's next-token distribution; needed where ``entropy_coefficient`` is not 0.
            selected: [N, T] bool, these rows of ``clip_strategy.select`` where its scope is "step".

        Raises:
            ValueError: a tensor is missing or has the wrong shape; the message names it.
        """
        if advantages.ndim == 1 and len(advantages) == len(mask):
            advantages = advantages[:, None].expand_as(log_probs)
        given = {"reference_log_probs": reference_log_probs, "entropy": entropy, "selected": selected}
        check_tokens(
            self,
            log_probs=log_probs,
            old_log_probs=old_log_probs,
            advantages=advantages,
            mask=mask,
            weights=weights,
            rollout_log_probs=rollout_log_probs,
            **{name: tensor for name, tensor in given.items() if tensor is not None},
        )
        clipped = self._clip(log_probs, old_log_probs, advantages, mask, selected)
        loss = self.importance_correction(old_log_probs, rollout_log_probs, mask) * clipped.loss
        with torch.no_grad():
            sums, maxima = _metrics(clipped, log_probs, old_log_probs, rollout_log_probs, mask)
            ratio = torch.where(mask, _trained(log_probs - old_log_probs, mask).exp(), 0.0)
            tokens = {"ratio": ratio, "clipped_low": clipped.clipped_low, "clipped_high": clipped.clipped_high}
        if self.kl_penalty.reference == "sampler":
            reference_log_probs = rollout_log_probs
        if self.kl_penalty.reference is not None:
            if reference_log_probs is None:
                raise ValueError(f"{label(self.kl_penalty)} needs reference_log_probs: it is None, expected [N, T]")
            kl = self.kl_penalty(_trained(log_probs, mask), _trained(reference_log_probs, mask))
            if getattr(self.kl_penalty, "weighed_by_ratio", False):
                kl = _trained(log_probs - old_log_probs, mask).exp() * kl
            loss = loss + self.kl_penalty.coefficient * kl
            sums["kl_reference"] = _total(kl)
        if entropy is not None:
            entropy = _trained(entropy, mask)
            sums["entropy"] = _total(entropy)
            tokens["entropy"] = entropy.detach()
        if self.entropy_coefficient:
            if entropy is None:
                raise ValueError(f"entropy_coefficient={self.entropy_coefficient} needs entropy: it is None, expected [N, T]")
            loss = loss - self.entropy_coefficient * entropy
        return ObjectiveOutput((weights.to(loss.dtype) * loss).sum(), sums, maxima, tokens)

    def _clip(
        self, log_probs: Tensor, old_log_probs: Tensor, advantages: Tensor, mask: Tensor, selected: Tensor | None
    ) -> TokenLoss:
        if selected is None:
            return self.clip_strategy(log_probs, old_log_probs, advantages, mask)
        return self.clip_strategy(log_probs, old_log_probs, advantages, mask, selected=selected)  # type: ignore[call-arg]


def means(sums: Mapping[str, float], trained_tokens: int) -> dict[str, float]:
    """Means over the trained tokens of a whole step from its ``sums``.

    ``clipped_high_probability`` is the mean over the tokens at the ceiling alone, and missing where there are none.
    """
    found = {name: total / trained_tokens for name, total in sums.items() if name != "clipped_high_probability"}
    if sums["clipped_high"]:
        found["clipped_high_probability"] = sums["clipped_high_probability"] / sums["clipped_high"]
    return found


def _metrics(
    clipped: TokenLoss, log_probs: Tensor, old_log_probs: Tensor, rollout_log_probs: Tensor, mask: Tensor
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Sums and maxima."""
    log_ratio = _trained(log_probs - old_log_probs, mask)
    log_rho = _trained(old_log_probs - rollout_log_probs, mask)
    ratio, rho = log_ratio.exp(), log_rho.exp()
    mismatch = (rho - 1).abs()
    probability = _trained(log_probs.exp(), mask)
    sums = {
        "clipped_low": _total(clipped.clipped_low),
        "clipped_high": _total(clipped.clipped_high),
        "clipped_high_probability": _total(_trained(probability, clipped.clipped_high)),
        "probability": _total(probability),
        "ratio": _total(_trained(ratio, mask)),
        "kl_old": _total(ratio - 1 - log_ratio),  # k3 of KL(old || new), sampled under old
        "sampler_kl": _total(rho - 1 - log_rho),  # k3 of KL(rollout || old), sampled under rollout
        "mismatch": _total(mismatch),
    }
    return sums, {"ratio_max": _maximum(_trained(ratio, mask)), "mismatch_max": _maximum(mismatch)}


def _trained(values: Tensor, mask: Tensor) -> Tensor:
    return torch.where(mask, values, 0.0)


def _total(values: Tensor) -> Tensor:
    return values.detach().sum(dtype=torch.float64)


def _maximum(values: Tensor) -> Tensor:
    return values.amax().double() if values.numel() else values.new_zeros((), dtype=torch.float64)
