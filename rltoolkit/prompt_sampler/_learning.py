"""What learning samplers share: ways to make an order, random numbers, and several groups of one problem in a rollout step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rltoolkit.prompt_sampler.base import Integers, PromptSampler, State

STRIDE = 4
"""How far ``walk`` looks ahead at once, for each problem that is missing."""


def walk(
    sampler: PromptSampler, state: State, size: int, count: int, keep: Callable[[int, Integers], NDArray[np.bool_]]
) -> tuple[Integers, int]:
    """The next ``count`` problems from ``state["place"]`` on, and the place behind the last one.

    Places count the problems of all of the sampler's passes, those passed over included. ``keep(epoch, problems)`` says which problems,
    [n], are not passed over in a pass; now and then there must be one.
    """
    seed, place = int(state["seed"]), int(state["place"])
    parts, missing = [np.empty(0, dtype=np.int64)], count
    while missing:
        epoch, offset = divmod(place, size)
        ahead = sampler(size, epoch, seed).numpy()[offset : offset + STRIDE * missing]
        found = np.flatnonzero(keep(epoch, ahead))[:missing]
        parts.append(ahead[found])
        missing -= len(found)
        place += len(ahead) if missing else int(found[-1]) + 1
    return np.concatenate(parts), place


def pass_after_pass(count: int, one_pass: Callable[[int], Integers]) -> Integers:
    """The first ``count`` problems of one_pass(0), one_pass(1), ...; none where these are empty."""
    parts, found = [np.empty(0, dtype=np.int64)], 0
    while found < count and len(part := one_pass(len(parts) - 1)):
        parts.append(part)
        found += len(part)
    return np.concatenate(parts)[:count]


def best_candidates(
    state: State,
    size: int,
    count: int,
    candidates: int,
    score: Callable[[Integers, np.random.Generator], NDArray[np.floating[Any]]],
) -> Integers:
    """The first ``count`` problems when ``candidates`` of them at a time, drawn uniformly, are sorted by their score, highest first.

    Nobody is drawn again before all have been; equal scores come in the order of the draw.
    """

    def one_pass(number: int) -> Integers:
        random = generator(state, number)
        drawn = random.permutation(size)
        blocks = (drawn[start : start + candidates] for start in range(0, min(size, count), candidates))
        return np.concatenate([block[np.argsort(-score(block, random), kind="stable")] for block in blocks])

    return pass_after_pass(count, one_pass)


def rounds(problem_index: Integers) -> Iterator[Integers]:
    """The observations [n] in parts that have each problem once at most: all first ones, all second ones, and so on."""
    by_problem = np.argsort(problem_index, kind="stable")
    _, starts, counts = np.unique(problem_index[by_problem], return_index=True, return_counts=True)
    earlier = np.empty(len(problem_index), dtype=np.int64)  # observations of the same problem before this one
    earlier[by_problem] = np.arange(len(problem_index)) - np.repeat(starts, counts)
    for number in range(max(counts, default=0)):
        yield np.flatnonzero(earlier == number)


def generator(state: State, *more: int) -> np.random.Generator:
    """Random numbers of a rollout step, a function of the run's seed, ``state["step"]`` and ``more``."""
    return np.random.default_rng([int(state["seed"]), int(state["step"]), *more])


def number(value: float) -> NDArray[Any]:
    """A number as a state holds it."""
    return np.array(value)
