"""Statistics over seeds: what a handful of runs says about a mean, a difference, a learning curve.

Values of several runs are arrays [S], one entry for each seed; S is small, 3 to 10. Two rows are compared seed by seed: the same
seed means the same start and the same prompts, so what the seed does to both rows cancels.

Curves are pairs of arrays (x, y), x ascending: straight lines between the points, nothing outside them. What a curve does not say
is nan: an accuracy that it never reaches, a number of tokens that it never spends.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

CONFIDENCE = 0.95
RESAMPLES = 10_000


class Interval(NamedTuple):
    """A mean over seeds and its 95 % interval."""

    mean: float
    low: float
    high: float


class PairedDifference(NamedTuple):
    """How far one row lies above another, over the seeds that both have."""

    mean: float
    low: float
    high: float
    p: float
    """two-sided, of the paired t-test; nan with fewer than two pairs, or where all differences are equal"""
    above: int
    """pairs in which it lies above"""
    pairs: int


def mean_interval(values: ArrayLike) -> Interval:
    """Mean of ``values`` [S] with its 95 % bootstrap interval over seeds; without a width (nan) where S < 2.

    Percentiles of resampled means are too close together when S is small: by sqrt((S - 1) / S), since a resample varies around
    the sample's mean, and by the normal quantile in the place of Student's. So they are taken further out, at

        Phi(-+ sqrt(S / (S - 1)) t),   t = Student's quantile with S - 1 degrees of freedom

    which gives what a t interval covers, without its symmetry. It never reaches beyond the smallest and the largest value, so
    below 6 seeds it covers less than it says: 75 % with three. The resamples are always the same ones.

    Source: the expanded percentile interval of Hesterberg, arXiv:1411.5279.
    """
    sample = np.asarray(values, dtype=float)
    if not len(sample):
        return Interval(np.nan, np.nan, np.nan)
    return Interval(*(float(each[0]) for each in mean_band(sample[:, None])))


def mean_band(values: ArrayLike) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """``mean_interval`` at each of X places of ``values`` [S, X]: mean, lower and upper end, each [X]."""
    sample = np.asarray(values, dtype=float)
    count, mean = len(sample), sample.mean(0)
    if count < 2:
        return mean, np.full_like(mean, np.nan), np.full_like(mean, np.nan)
    from scipy import stats  # takes a second

    t = stats.t.ppf((1 + CONFIDENCE) / 2, count - 1)
    tail = stats.norm.cdf(-np.sqrt(count / (count - 1)) * t)
    draws = np.random.default_rng(0)
    found = stats.bootstrap(
        (sample,), np.mean, method="percentile", confidence_level=1 - 2 * tail, n_resamples=RESAMPLES, batch=1000, rng=draws
    )
    return mean, *found.confidence_interval


def paired_difference(ours: ArrayLike, theirs: ArrayLike) -> PairedDifference:
    """``ours`` [S] minus ``theirs`` [S], seed by seed: mean, 95 % bootstrap interval and the p of a paired t-test.

    The t-test and not a rank or sign-flip test: with 8 seeds those know 2^8 outcomes, so that their p is never below
    2 / 256 = 0.008 however large the difference. Each value is itself a mean over thousands of responses, close to normal.
    ``above`` of ``pairs`` is the evidence that rests on no distribution.

    Raises:
        ValueError: the two are not equally long.
    """
    from scipy import stats

    a, b = np.asarray(ours, dtype=float), np.asarray(theirs, dtype=float)
    if a.shape != b.shape:
        raise ValueError(f"paired values need the same seeds: got {len(a)} and {len(b)} of them")
    differences = a - b
    varies = len(differences) > 1 and np.ptp(differences) > 1e-12 * np.abs(differences).max()
    p = float(stats.ttest_rel(a, b).pvalue) if varies else np.nan
    return PairedDifference(*mean_interval(differences), p, int((differences > 0).sum()), len(differences))


def holm(p_values: Sequence[float]) -> list[float]:
    """Each p corrected for the others by Holm's step-down: the chance of any false finding among all of them stays below p.

        sorted p_1 <= ... <= p_m:   p'_i = max over j <= i of min(1, (m - j + 1) p_j)

    Comparisons without a p (nan) do not count and stay nan. Source: Holm, Scandinavian Journal of Statistics 6 (1979), 65-70.
    """
    raw = np.asarray(p_values, dtype=float)
    order = np.argsort(raw, kind="stable")[: np.isfinite(raw).sum()]  # nan sorts last
    factors = np.arange(len(order), 0, -1)
    corrected = np.full(len(raw), np.nan)
    corrected[order] = np.maximum.accumulate(np.minimum(1.0, factors * raw[order]))
    return corrected.tolist()


def mean_height(x: ArrayLike, y: ArrayLike, stop: float | None = None) -> float:
    """The curve's mean height from its start to ``stop`` (its end where not given): area under it over width, in the unit of y.

    nan where the curve ends before ``stop`` or has no width.
    """
    xs, ys = _curve(x, y)
    end = xs[-1] if stop is None and len(xs) else stop
    if not len(xs) or end is None or not xs[0] < end <= xs[-1]:
        return np.nan
    inside = xs < end
    xs, ys = np.append(xs[inside], end), np.append(ys[inside], np.interp(end, xs, ys))
    return float(np.trapezoid(ys, xs) / (end - xs[0]))


def height_at(x: ArrayLike, y: ArrayLike, at: float) -> float:
    """The curve's height at ``at``; nan before its start and after its end."""
    xs, ys = _curve(x, y)
    return float(np.interp(at, xs, ys, left=np.nan, right=np.nan)) if len(xs) else np.nan


def first_reach(x: ArrayLike, y: ArrayLike, target: float) -> float:
    """The first x at which the curve is at ``target`` or above; nan where it never is."""
    xs, ys = _curve(x, y)
    reached = np.flatnonzero(ys >= target)
    if not len(reached):
        return np.nan
    i = int(reached[0])
    if i == 0:
        return float(xs[0])
    share = (target - ys[i - 1]) / (ys[i] - ys[i - 1])
    return float(xs[i - 1] + share * (xs[i] - xs[i - 1]))


def _curve(x: ArrayLike, y: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """The points that have both coordinates, in the order of x."""
    xs, ys = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    there = np.isfinite(xs) & np.isfinite(ys)
    order = np.argsort(xs[there], kind="stable")
    return xs[there][order], ys[there][order]
