"""How large a difference is, whether it matters, and how many samples or seeds tell it apart.

`ROPE`, the region of practical equivalence, is a share of the metric's scale: the spread of scores
between the random control and the oracle where both are known, else the standard deviation of all
scores. Within it two methods are the same for every purpose (Kruschke 2018,
doi:10.1177/2515245918771304). Letters as in `intervals`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from xai_bench.results.statistics.intervals import Floats, Ints, mean_intervals, spread, student

ROPE = 0.02
Verdict = Literal["better", "worse", "equivalent", "undecided", "unknown"]
POWER = 0.8
_MANY = 10_000_000


@dataclass(frozen=True)
class Effect:
    """One method against another on one metric; differences are positive where it is better.

    Attributes:
        difference, low, high: the mean of paired differences and its interval.
        standardised: the mean difference over the standard deviation of the differences (Cohen's
            d of pairs); NaN where they never vary.
        superiority: the share of pairs in which it is better, ties counted half.
        rope: half the width of the region of practical equivalence.
        verdict: `better` or `worse` where the interval leaves out 0 and the difference is larger
            than `rope`; `equivalent` where the interval lies within the region, or where the
            difference is real and smaller than it; else `undecided`.
        n_pairs: samples that both have a score for.
        n_left_out: samples that one of them has a score for.
    """

    difference: float
    low: float
    high: float
    standardised: float
    superiority: float
    rope: float
    verdict: Verdict
    n_pairs: int
    n_left_out: int


def effect(first: Floats, second: Floats, seeds: Ints, rows: Ints, rope: float) -> Effect:
    """`[N]` scores of two methods, higher is better, NaN: unscored; `seeds [N]`, `rows [N]`."""
    difference = first - second
    pairs = difference[np.isfinite(difference)]
    mean, low, high = (float(v[0]) for v in mean_intervals(difference[None], seeds, rows))
    # Of the differences, not of the scores: what both methods find hard is no noise here.
    deviation = float(pairs.std(ddof=1)) if len(pairs) > 1 else 0.0
    either = np.isfinite(first) | np.isfinite(second)
    wins = np.where(pairs > 0, 1.0, np.where(pairs == 0, 0.5, 0.0))
    return Effect(
        difference=mean,
        low=low,
        high=high,
        standardised=mean / deviation if deviation > 0 else math.nan,
        superiority=float(wins.mean()) if len(pairs) else math.nan,
        rope=rope,
        verdict=verdict(mean, low, high, rope),
        n_pairs=len(pairs),
        n_left_out=int(either.sum()) - len(pairs),
    )


def verdict(mean: float, low: float, high: float, rope: float) -> Verdict:
    """What a mean difference and its interval say; see `Effect.verdict`."""
    if not math.isfinite(mean):
        return "unknown"
    # Before all else: an interval inside the region may leave out 0 and matter to nobody.
    if -rope <= low and high <= rope:
        return "equivalent"
    if low <= 0 <= high:
        return "undecided"
    # An interval that excludes 0 and reaches out of the region: the mean says which it is.
    if abs(mean) <= rope:
        return "equivalent"
    return "better" if mean > 0 else "worse"


def scale(scores: Floats, floor: Floats | None = None, ceiling: Floats | None = None) -> float:
    """What the region of practical equivalence is a share of.

    `floor` and `ceiling` are the scores of the random control and of the oracle, where known.
    """
    if floor is not None and ceiling is not None:
        span = abs(_mean(ceiling) - _mean(floor))
        if math.isfinite(span) and span > 0:
            return span
    scored = scores[np.isfinite(scores)]
    return float(scored.std()) if len(scored) else math.nan


@dataclass(frozen=True)
class Needed:
    """How many rows, at the seeds there are, or how many seeds, at the rows there are, tell a
    difference of this size apart with a probability of 80 %. None: no number does, because the
    other factor alone leaves too much chance, or because nothing is known of it.
    """

    rows: int | None
    seeds: int | None


def needed(first: Floats, second: Floats, seeds: Ints, rows: Ints, smallest: float) -> Needed:
    """For a true difference of `smallest`, from the variances that these scores show."""
    difference = first - second
    if np.isfinite(difference).sum() < 2 or smallest <= 0:
        return Needed(None, None)
    deviations = (difference - np.nanmean(difference))[None]
    components = spread(deviations, seeds, rows)
    parts = (components.seeds, components.rows, components.rest)
    n_seeds, n_rows = len(np.unique(seeds)), len(np.unique(rows))
    n = float(components.n_scored[0])
    a, b, e = (float(p.variance[0]) * n for p in parts)
    # Mean squares to variances: MS_A estimates e + n_rows * var(A), and may fall below e by chance.
    by_seed, by_row = max(a - e, 0.0) / n_rows, max(b - e, 0.0) / n_seeds
    e = e if n_seeds > 1 else 0.0  # with one seed, rows hold it already
    return Needed(
        rows=_smallest(lambda k: by_seed / n_seeds + (by_row + e / n_seeds) / k, smallest),
        seeds=_smallest(lambda k: by_row / n_rows + (by_seed + e / n_rows) / k, smallest)
        if n_seeds > 1
        else None,
    )


def power(smallest: float, variance: float, degrees_of_freedom: float) -> float:
    """The probability that a two-sided 5 % t test sees a difference of `smallest`."""
    from scipy.special import nctdtr

    if variance <= 0:
        return 1.0
    shift = smallest / math.sqrt(variance)
    critical = float(student(0.025, np.array([degrees_of_freedom]))[0])
    if shift > critical + 5:  # the library answers NaN far from the centre
        return 1.0
    return float(
        1
        - nctdtr(degrees_of_freedom, shift, critical)
        + nctdtr(degrees_of_freedom, shift, -critical)
    )


def _smallest(variance: Callable[[int], float], smallest: float) -> int | None:
    """The least k whose power is enough; None where none up to ten million is."""

    def enough(k: int) -> bool:
        return power(smallest, variance(k), max(k - 1, 1)) >= POWER

    if not enough(_MANY):
        return None
    # Power never falls as their number grows, so that bisection finds the least.
    low, high = 1, _MANY
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _mean(scores: Floats) -> float:
    scored = scores[np.isfinite(scores)]
    return float(scored.mean()) if len(scored) else math.nan
