"""Parity: does the engine hold the weights that were trained? Compared on the log-probs of the same tokens, the probe.

Two questions are asked after each weight sync. Are the two sides close?

    gap = mean over the probe's tokens of |engine's log-prob - trainer's log-prob|

The mean, since in bfloat16 single tokens differ by 0.5 for nothing but rounding, while stale weights shift all of them. Rounding sets
a floor of about 0.1 to the gap, and a model that learns slowly moves by less than that in hundreds of steps. So: has the engine
moved as the trainer has, since the probe was first measured?

    movement = mean over the probe's tokens of |log-prob now - log-prob then|

Both movements are functions of the weights alone. Rounding adds to them and takes nothing away, so an engine whose movement is a
small part of the trainer's did not get what was trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch

from rltoolkit.errors import RunFailed

if TYPE_CHECKING:
    from torch import Tensor

SMALLEST_MOVEMENT = 0.01
"""nats by which the trainer must have moved before the movements are compared"""
LEAST_SHARE = 0.25
"""of the trainer's movement that the engine must have made"""


class StaleWeights(RunFailed):
    """After a weight sync the engine's log-probs are not those of the weights that were trained."""


class ParityGap(NamedTuple):
    """How far two sets of log-probs are apart, in nats."""

    mean: float
    largest: float


class Movement(NamedTuple):
    """How far the two sides' log-probs of one probe have moved since it was first measured, in nats."""

    engine: float
    trainer: float


def parity_gap(one: Sequence[Tensor], other: Sequence[Tensor]) -> ParityGap:
    """Absolute differences over all tokens; one tensor [n - 1] for each sequence of n tokens, as ``engine.log_probs`` returns.

    NaN on either side counts as an infinite gap.
    """
    gaps = torch.cat(
        [
            (ours.float().cpu() - theirs.float().cpu()).abs().nan_to_num(nan=float("inf"))
            for ours, theirs in zip(one, other, strict=True)
        ]
    )
    return ParityGap(gaps.mean().item(), gaps.max().item())


def require_parity(
    engine_log_probs: Sequence[Tensor],
    trainer_log_probs: Sequence[Tensor],
    *,
    tolerance: float,
    version: int,
    engine: str = "the rollout engine",
) -> ParityGap:
    """The gap, if its mean is within the tolerance.

    Raises:
        StaleWeights: it is not; the message names the gap, the tolerance and the version that was sent.
    """
    gap = parity_gap(engine_log_probs, trainer_log_probs)
    if gap.mean > tolerance:
        raise StaleWeights(
            f"after the sync of weights version {version} {engine}'s log-probs differ from the trainer's by "
            f"{gap.mean:.3g} on average and {gap.largest:.3g} at most (tolerance of the average: {tolerance:g}): the engine "
            "samples from other weights than the ones trained"
        )
    return gap


def require_common_movement(movement: Movement, *, version: int, engine: str = "the rollout engine") -> None:
    """Raise StaleWeights where the trainer has moved and the engine has not come along."""
    if movement.trainer >= SMALLEST_MOVEMENT and movement.engine < LEAST_SHARE * movement.trainer:
        raise StaleWeights(
            f"after the sync of weights version {version} the trainer's log-probs have moved by {movement.trainer:.3g} on average "
            f"since the probe was first measured, {engine}'s by {movement.engine:.3g}: the engine did not get the weights "
            "that were trained"
        )
