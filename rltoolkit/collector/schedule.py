"""Continuous refill: how many groups a rollout step submits, and how early it can know."""

from __future__ import annotations

import math
from bisect import insort
from collections.abc import Iterable
from typing import NamedTuple

CAUTION = 0.5
"""A refill orders this many standard deviations fewer groups than it expects to need; see benchmarks/README.md.

What is submitted late runs to the end of the step or beyond, so a group too many costs more than one too few.
"""


class Decision(NamedTuple):
    """What became of a group."""

    group: int
    """counted from the step's first"""
    kept: bool
    responses: int
    """that were sampled of it; fewer than G where its pilot was rejected"""


class Schedule:
    """The groups of the stream that one rollout step submits, in whatever order their decisions come in.

    After n decisions (kept or rejected) in stream order, k of them rejections, a step that needs P groups lacks d = P - (n - k).
    At acceptance rate r it takes d / r groups on average to keep d more, with standard deviation sqrt(d (1 - r)) / r. So the step
    should have

        s(n, k) = n + max(d, floor((d - CAUTION sqrt(d (1 - r))) / r)),    r = (A + n - k) / (N + n)

    submitted, where A of the last N groups were kept before this step. It starts with head_start for -CAUTION, and submits the
    largest s over all n until d is 0.

    s only grows when a group is rejected. So unfinished groups may be assumed to be accepted: whatever is submitted under that
    assumption would be submitted anyway, and need not wait for an earlier group that still runs. The groups submitted are the same
    as if the decisions had come one by one in stream order. The limit works likewise: an unfinished group counts G responses, and a
    decision can only give some of them back.

    Args:
        needed: P, less the groups that were carried into the step.
        limit: the most responses that the step may sample.
        group_size: G.
        accepted, judged: A and N; N above 0.
        head_start: in standard deviations.
        lowest_rate: r is taken to be at least this.
    """

    def __init__(
        self, *, needed: int, limit: int, group_size: int, accepted: float, judged: float, head_start: float, lowest_rate: float
    ) -> None:
        self._needed, self._head_start, self._lowest_rate = needed, head_start, lowest_rate
        self._unspent, self._group_size = limit, group_size
        self._prior = (accepted, judged)
        self._wanted = 0  # groups to submit as far as the limit allows
        self.submitted = 0
        self.in_flight = 0
        self.accepted = 0
        self.settled = 0
        """length of the prefix, in stream order, whose decisions are all known; it stops at the P-th kept group"""
        self._settled_accepted = 0
        self._ahead: dict[int, bool] = {}  # the decisions beyond those settled
        self._rejected: list[int] = []  # the rejections among them, in stream order

    @property
    def complete(self) -> bool:
        """Whether the last group needed is known; it is then ``settled - 1``."""
        return self._settled_accepted >= self._needed

    def start(self) -> range:
        """The first groups to submit, counted from the step's first."""
        self._wanted = self._size(0, 0, -self._head_start) if self._needed > 0 else 0
        return self._submit()

    def add(self, decisions: Iterable[Decision]) -> range:
        """Take what became of some submitted groups; returns the groups to submit now."""
        for group, kept, responses in decisions:
            self._ahead[group] = kept
            self._unspent += self._group_size - responses
            self.in_flight -= 1
            self.accepted += kept
            if not kept:
                insort(self._rejected, group)
        for earlier, group in enumerate(self._rejected):
            accepted = self._settled_accepted + group - self.settled - earlier
            if accepted >= self._needed:
                break
            self._wanted = max(self._wanted, self._size(group + 1, accepted, CAUTION))
        self._settle()
        return self._submit()

    def _size(self, judged: int, accepted: int, caution: float) -> int:
        """s after this many decisions."""
        rate = max((self._prior[0] + accepted) / (self._prior[1] + judged), self._lowest_rate)
        lacking = self._needed - accepted
        cautious = (lacking - caution * math.sqrt(lacking * (1 - rate))) / rate
        return judged + max(lacking, math.floor(cautious))

    def _submit(self) -> range:
        new = range(self.submitted, min(self._wanted, self.submitted + self._unspent // self._group_size))
        self._unspent -= len(new) * self._group_size
        self.submitted += len(new)
        self.in_flight += len(new)
        return new

    def _settle(self) -> None:
        """Put decisions that no later one can change behind us, so that a call costs what is out of order, not the whole step."""
        rejected = 0
        while self.settled in self._ahead and not self.complete:
            kept = self._ahead.pop(self.settled)
            self.settled += 1
            self._settled_accepted += kept
            rejected += not kept
        del self._rejected[:rejected]
