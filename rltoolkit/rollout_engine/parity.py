"""Parity: do engine and trainer hold the same weights? Compared on the log-probs of the same tokens."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor


class StaleWeights(RuntimeError):
    """After a weight sync the engine's log-probs differ from the trainer's."""


def parity_gap(engine_log_probs: Sequence[Tensor], trainer_log_probs: Sequence[Tensor]) -> float:
    """The largest absolute difference over all tokens; one tensor [n - 1] for each probe, as ``engine.log_probs`` returns.

    NaN on either side counts as an infinite gap.
    """
    gaps = [
        (ours.float().cpu() - theirs.float().cpu()).abs().nan_to_num(nan=float("inf")).max().item()
        for ours, theirs in zip(engine_log_probs, trainer_log_probs, strict=True)
    ]
    return max(gaps)


def require_parity(
    engine_log_probs: Sequence[Tensor], trainer_log_probs: Sequence[Tensor], *, tolerance: float, version: int
) -> float:
    """The gap, if it is within the tolerance.

    Raises:
        StaleWeights: it is not; the message names the gap, the tolerance and the version that was sent.
    """
    gap = parity_gap(engine_log_probs, trainer_log_probs)
    if gap > tolerance:
        raise StaleWeights(
            f"after the sync of weights version {version} the rollout engine's log-probs differ from the trainer's by "
            f"{gap:.3g} (tolerance {tolerance:g}): the engine samples from other weights than the ones trained"
        )
    return gap
