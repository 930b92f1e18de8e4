"""Parity: do engine and trainer hold the same weights? Compared on the log-probs of the same tokens.

    gap = mean over the probe's tokens of |engine's log-prob - trainer's log-prob|

The mean, since in bfloat16 single tokens differ by 0.5 for nothing but rounding, while stale weights shift all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch

if TYPE_CHECKING:
    from torch import Tensor


class StaleWeights(RuntimeError):
    """After a weight sync the engine's log-probs differ from the trainer's."""


class ParityGap(NamedTuple):
    """How far two sets of log-probs are apart, in nats."""

    mean: float
    largest: float


def parity_gap(engine_log_probs: Sequence[Tensor], trainer_log_probs: Sequence[Tensor]) -> ParityGap:
    """Absolute differences over all tokens; one tensor [n - 1] for each probe, as ``engine.log_probs`` returns.

    NaN on either side counts as an infinite gap.
    """
    gaps = torch.cat(
        [
            (ours.float().cpu() - theirs.float().cpu()).abs().nan_to_num(nan=float("inf"))
            for ours, theirs in zip(engine_log_probs, trainer_log_probs, strict=True)
        ]
    )
    return ParityGap(gaps.mean().item(), gaps.max().item())


def require_parity(
    engine_log_probs: Sequence[Tensor], trainer_log_probs: Sequence[Tensor], *, tolerance: float, version: int
) -> ParityGap:
    """The gap, if its mean is within the tolerance.

    Raises:
        StaleWeights: it is not; the message names the gap, the tolerance and the version that was sent.
    """
    gap = parity_gap(engine_log_probs, trainer_log_probs)
    if gap.mean > tolerance:
        raise StaleWeights(
            f"after the sync of weights version {version} the rollout engine's log-probs differ from the trainer's by "
            f"{gap.mean:.3g} on average and {gap.largest:.3g} at most (tolerance of the average: {tolerance:g}): the engine "
            "samples from other weights than the ones trained"
        )
    return gap
