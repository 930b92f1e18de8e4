"""Whose log-probs are the old ones: those that the ratio of an update is taken to.

    ratio = exp(log_probs - old_log_probs)

There are three sources, chosen for the whole run (config key ``trainer.old_log_probs``):

    trainer   a scoring pass over the rollout step before its first update
    engine    the log-probs that the rollout engine reported while it sampled; no scoring pass
    update    the update's own forward pass, where a rollout step makes a single update: the policy has not moved yet, so they
              are those of the trainer, and the ratio is 1

``auto`` is ``trainer``, or ``update`` where a rollout step makes one update.

Rows that an older policy sampled (groups carried over from an earlier rollout step) keep the engine's log-probs under every
source. Their policy is gone, so nobody can score them under it; taking today's policy for theirs would start their ratio at 1
and hide from the clip how far the policy has moved since.

Where sampling runs ahead (``collector.max_lag``) every row is of an older policy. There are two sound ways, and one of them has to
be chosen. With ``engine`` the ratio is to the policy that sampled, whose log-probs the engine reported, and the clip sees all of the
movement. Otherwise it is decoupled: the old policy is that before the update, for carried rows, too, and an importance correction
weighs every token by the old policy's probability over the sampler's.

Source: DAPO, arXiv:2503.14476, eq. 8 (the ratio to the policy that sampled); decoupled: Hilton et al., arXiv:2110.00641, and AReaL,
arXiv:2505.24298, section 5.2.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

from rltoolkit.component import label
from rltoolkit.importance_correction import ImportanceCorrection, NoCorrection

if TYPE_CHECKING:
    from tensordict import TensorDict
    from torch import Tensor

TRAINER, ENGINE, UPDATE = "trainer", "engine", "update"


def source(asked: str, optimizer_steps_per_rollout: int) -> str:
    """The source that ``trainer.old_log_probs`` asks for: trainer, engine or update."""
    if asked == "auto":
        return TRAINER if optimizer_steps_per_rollout > 1 else UPDATE
    return asked


def require_source_fits(asked: str, correction: ImportanceCorrection, max_lag: int = 0) -> None:
    """Raise ValueError where an importance correction would compare the engine's log-probs with themselves, or is missing."""
    if asked == ENGINE and not isinstance(correction, NoCorrection):
        raise ValueError(
            f"trainer.old_log_probs=engine: {label(correction)} weighs the trainer's old log-probs against the engine's, and would "
            "find no difference; set importance_correction=none, or trainer.old_log_probs=trainer"
        )
    if max_lag and asked != ENGINE and isinstance(correction, NoCorrection):
        raise ValueError(
            f"collector.max_lag={max_lag}: responses come from an older policy than the one that is trained, and nothing corrects for "
            "it; set importance_correction=tis (or another one), or trainer.old_log_probs=engine, the ratio to the policy that sampled"
        )


def before_updates(rows: TensorDict, source: str, score: Callable[[TensorDict], Tensor], *, decoupled: bool = False) -> None:
    """Enter ``old_log_probs`` and ``scored_in_update`` into the rows [N] of a rollout step, before its first update.

    Args:
        rows: with ``carried`` and ``rollout_log_probs``.
        source: one of the three.
        score: rows to their log-probs [N, T] under the policy that is about to be updated.
        decoupled: whether rows of an older policy are treated as all others are.
    """
    carried = torch.zeros_like(rows["carried"]) if decoupled else rows["carried"]
    if source == TRAINER:
        rows["old_log_probs"] = torch.where(carried[:, None], rows["rollout_log_probs"], score(rows))
    else:
        rows["old_log_probs"] = rows["rollout_log_probs"].clone()
    rows["scored_in_update"] = ~carried if source == UPDATE else torch.zeros_like(carried)


def within_update(rows: TensorDict, log_probs: Tensor) -> Tensor:
    """The old log-probs [N, T] of rows whose ``log_probs`` [N, T] an update has just computed; without gradient."""
    return torch.where(rows["scored_in_update"][:, None], log_probs.detach(), rows["old_log_probs"])
