"""Pilot groups: of a prompt's G responses the first m are sampled first, and the rest only where they leave a chance.

The first m responses are shaped and filtered as a group of m would be. What the filters reject then is not finished; what they let
pass is, and is judged again as a whole. Under dynamic sampling a pilot with both verdicts is certain to be kept, and one whose
responses are all right or all wrong is given up, although the rest might have differed. So the kept prompts are others: with accuracy p

    whole groups    P(kept) = 1 - p^G - (1 - p)^G
    pilots          P(kept) = 1 - p^m - (1 - p)^m

Prompts with p near 0 or 1 are trained on less often, at p = 0.1, G = 16, m = 4 with probability 0.34 instead of 0.81. Without pilots
the groups that are left out have no gradient, so that dynamic sampling changes its scale alone; here some of them would have had one.
Responses sampled for each kept group, expectations over the prompts that are asked:

    whole groups    G / E[P(kept)]
    pilots          G - m + m / E[P(kept)]

Where all prompts have the same p strictly between 0 and 1 the second is never smaller. Pilots pay where many prompts are solved or
hopeless, p = 0 or 1: if half of them are and the others have p = 1/2, 16 responses and pilots of 4 come to 21.1 instead of 32.0.

The rule reads nothing but responses, so for whoever infers p (a learning prompt sampler) the m responses of a pilot that was given up,
and the G of a finished group, are what they always are: so many right of so many.

Source: SPEED, arXiv:2506.09016 (screening with 0 < accuracy < 1); Pilot-Commit, arXiv:2605.26606 (with a range: choose
``sampler_filter=[accuracy_range]``; what is undecided is not deferred to later steps here). Config: ``collector.pilot_size``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rltoolkit.collector.judge import Judge
from rltoolkit.collector.prompt_stream import PromptStream
from rltoolkit.collector.step import Group
from rltoolkit.rollout_batch import join_groups
from rltoolkit.rollout_engine.base import RolloutStream

if TYPE_CHECKING:
    from tensordict import TensorDict


class GroupsInFlight:
    """One rank's groups of a rollout step, from their position in the stream of prompts to the verdict.

    The engine samples in pieces of ``pilot_size`` responses. Piece i of a group has responses i * pilot_size and on, with the random
    streams that they have in a whole group; its key is position * (pieces of a group) + i. Without pilots a group is one piece.

    Args:
        stream: of the engine, with ``pilot_size`` for its group size.
        prompts: says what stands at a position.
        judge: of this rollout step.
        group_size: G, a multiple of ``pilot_size``.
        pilot_size: m; G for whole groups.
        sampled_in: rollout steps that are complete.
    """

    def __init__(
        self, stream: RolloutStream, prompts: PromptStream, judge: Judge, *, group_size: int, pilot_size: int, sampled_in: int
    ) -> None:
        self._stream, self._prompts, self._judge, self._sampled_in = stream, prompts, judge, sampled_in
        self._size, self._pieces = pilot_size, group_size // pilot_size
        self._arrived: dict[int, dict[int, TensorDict]] = {}

    def __len__(self) -> int:
        """Groups without a verdict."""
        return len(self._arrived)

    def submit(self, positions: Sequence[int]) -> None:
        """Begin to sample the groups at these positions."""
        self._arrived.update({position: {} for position in positions})
        if positions:
            self._submit_piece(0, positions)

    def next_judged(self, timeout: float | None = None) -> list[Group]:
        """Groups with a verdict, from what the engine finishes next; it may be none, pilots apart, within ``timeout`` seconds."""
        finished = self._stream.next_finished(timeout=timeout)
        if finished is None:
            return []
        keys, rollouts = finished
        places = [divmod(key, self._pieces) for key in keys]
        verified = self._judge.verify(rollouts, [self._prompts.problem_at(position) for position, _ in places])
        groups, undecided = list[Group](), list[int]()
        for (position, number), piece in zip(places, verified.unbind(0), strict=True):
            arrived = self._arrived[position]
            arrived[number] = piece
            if 1 < len(arrived) < self._pieces:
                continue
            # joining copies: as a view of ``verified`` a group would keep all that finished with it in memory and in checkpoints
            group, keep = self._judge.shape_and_filter(join_groups(arrived[each] for each in sorted(arrived)))
            if keep and len(arrived) < self._pieces:
                undecided.append(position)
            else:
                groups.append(Group(position, group, keep, self._sampled_in))
                del self._arrived[position]
        for number in range(1, self._pieces) if undecided else ():
            self._submit_piece(number, undecided)
        return groups

    def _submit_piece(self, number: int, positions: Sequence[int]) -> None:
        self._stream.submit(
            [position * self._pieces + number for position in positions],
            [self._prompts.problem_at(position).tokens for position in positions],
            [self._prompts.seed_at(position) for position in positions],
            first=number * self._size,
        )
