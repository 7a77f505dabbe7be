"""Means of per-sample scores and their 95 % intervals: the one place that computes them.

Scores are crossed: rows with one index are one test row under every seed. With seed effect `A`, row
effect `B` and the rest `E`, a score is `mean + A + B + E`, and the variance of the mean is
`(MS_A + MS_B - MS_E) / N` in the mean squares of the two-way random effects model, never less than
the smaller of `MS_A / N` and `MS_B / N`. Degrees of freedom are Satterthwaite's (1946), never fewer
than those of the smaller factor. With few seeds his interval is too narrow where seeds matter most,
and that of Cochran and Cox (1957), a Student quantile for each mean square, too wide where they do
not; `COCHRAN` of the squared half width is theirs. `benchmarks/intervals.py` measures what
each of seven ways covers; `docs/statistics.md` shows it.

One seed alone gives Student's interval over rows, which says nothing of other seeds. Where no row
is shared by two seeds, rows are nested and the seed means decide (cluster t).
Letters: `E` explainers or metrics, `N` rows under all seeds, `S` seeds, `R` test rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]

LEVEL = 0.95
COCHRAN = 1 / 3
"""Chosen by simulation over 3 to 20 seeds (`benchmarks/intervals.py`)."""


@dataclass(frozen=True, eq=False)
class Component:
    """One source of variance, every field `[E]`: its share of the variance of the mean."""

    variance: Floats
    degrees_of_freedom: Floats

    def wide(self, tail: float) -> Floats:
        """`[E]` the squared half width, were this the only source."""
        quantile = student(tail, self.degrees_of_freedom)
        return np.where(self.variance > 0, quantile**2, 1.0) * self.variance


@dataclass(frozen=True, eq=False)
class Spread:
    """The sources of variance of means. Seeds or rows of which there is one have 0 degrees."""

    seeds: Component
    rows: Component
    rest: Component
    n_scored: Ints

    def half_widths(self, level: float = LEVEL) -> Floats:
        """`[E]`: infinite where one score says nothing of the spread, NaN where there is none."""
        tail = (1 - level) / 2
        # Only where seeds share rows can seeds, rows and the rest be told apart.
        crossed = self.rest.degrees_of_freedom > 0
        alone = self.seeds.degrees_of_freedom == 0
        single = np.where(alone, self.rows.wide(tail), self.seeds.wide(tail))
        half = np.sqrt(np.where(crossed, self._crossed(tail), single))
        half = np.where(self.n_scored == 1, np.inf, half)
        return np.asarray(np.where(self.n_scored == 0, np.nan, half))

    def _crossed(self, tail: float) -> Floats:
        """`[E]` the squared half width where rows are shared by seeds."""
        parts = (self.seeds, self.rows, self.rest)
        a, b, e = (part.variance for part in parts)
        # The rest is in the means of seeds and in those of rows: counted twice, taken off once.
        # Where chance makes that too small, the larger of the two sources cannot be smaller.
        variance = np.maximum(a + b - e, np.minimum(a, b))
        lost = sum(ratio(p.variance**2, p.degrees_of_freedom) for p in parts)
        fewest = np.minimum(self.seeds.degrees_of_freedom, self.rows.degrees_of_freedom)
        # Satterthwaite 1946; with a part that is taken off, his number can fall below any source's.
        freedom = np.fmax(ratio(variance**2, lost), fewest)
        satterthwaite = Component(variance, freedom).wide(tail)
        # Cochran 1951 mixes the quantiles instead of the degrees of freedom. His width is too large
        # where one source dominates and Satterthwaite's too small: a third of his covers best.
        wide_a, wide_b, wide_e = (part.wide(tail) for part in parts)
        cochran = np.maximum(wide_a + wide_b - wide_e, np.minimum(wide_a, wide_b))
        return np.asarray((1 - COCHRAN) * satterthwaite + COCHRAN * cochran)


def mean_intervals(
    scores: Floats, seeds: Ints, rows: Ints, level: float = LEVEL
) -> tuple[Floats, Floats, Floats]:
    """`[E, N]`, `[N]`, `[N] -> [E]` mean, low and high over the finite scores.

    NaN where nothing is scored. One scored row says nothing of the spread, so its interval is
    infinite.
    """
    finite = np.isfinite(scores)
    n_scored = finite.sum(1)
    filled = np.where(finite, scores, 0.0)
    center = np.where(n_scored > 0, ratio(filled.sum(1), n_scored), np.nan)
    # Equal scores are exactly their own mean: no width from rounding.
    low, high = _extremes(scores, finite)
    center = np.where(low == high, low, center)
    half = spread(scores - center[:, None], seeds, rows).half_widths(level)
    return center, center - half, center + half


def spread(deviations: Floats, seeds: Ints, rows: Ints) -> Spread:
    """`[E, N]` deviations from the mean (NaN: unscored) -> where their variance comes from.

    Any statistic whose error is a mean of per-row influences has its interval from these.
    """
    cube = _cube(deviations, seeds, rows)
    scored = np.isfinite(cube)
    filled = np.where(scored, cube, 0.0)
    n = scored.sum((1, 2))
    by_seed = _component(filled.sum(2), scored.sum(2), n)
    by_row = _component(filled.sum(1), scored.sum(1), n)
    return Spread(by_seed, by_row, _rest(filled, scored, n), n)


def ratio(numerator: Any, denominator: Any) -> Floats:
    """Elementwise, broadcast; NaN where the denominator is not above 0."""
    out = np.full(np.broadcast(numerator, denominator).shape, np.nan)
    np.divide(numerator, denominator, out=out, where=np.asarray(denominator) > 0)
    return out


def student(tail: float, degrees_of_freedom: Floats) -> Floats:
    """The upper quantile of Student's t; infinite for 0 degrees of freedom."""
    from scipy.special import stdtrit

    # Fractions are allowed: Satterthwaite's degrees are no whole numbers.
    quantile = stdtrit(np.maximum(degrees_of_freedom, 1e-9), 1 - tail)
    return np.asarray(np.where(degrees_of_freedom > 0, quantile, np.inf))


def _cube(values: Floats, seeds: Ints, rows: Ints) -> Floats:
    """`[E, N] -> [E, S, R]`, NaN where a seed lacks a row."""
    distinct_seeds, seed = np.unique(seeds, return_inverse=True)
    distinct_rows, row = np.unique(rows, return_inverse=True)
    cube = np.full((len(values), len(distinct_seeds), len(distinct_rows)), np.nan)
    cube[:, seed, row] = values
    return cube


def _component(sums: Floats, counts: Ints, n: Ints) -> Component:
    """`[E, K]` sums of deviations in `K` groups of `counts` scores, of `n [E]` in all."""
    n_groups = (counts > 0).sum(1)
    freedom = np.maximum(n_groups - 1, 0).astype(float)
    # In a balanced table the mean square over N. Of sums, not means, so that a group with few
    # scores has little say.
    squares = (sums**2).sum(1) * ratio(n_groups, freedom * n.astype(float) ** 2)
    return Component(np.where(freedom > 0, squares, 0.0), freedom)


def _rest(filled: Floats, scored: Flags, n: Ints) -> Component:
    """What is left of deviations `[E, S, R]` beside seed and row, in rows that two seeds share."""
    n_seeds, n_rows = scored.sum(2), scored.sum(1)
    seed_means = np.nan_to_num(ratio(filled.sum(2), n_seeds))
    row_means = np.nan_to_num(ratio(filled.sum(1), n_rows))
    # A row under one seed is all row effect: it leaves no residual.
    shared = scored & (n_rows > 1)[:, None]
    residuals = np.where(shared, filled - seed_means[:, :, None] - row_means[:, None], 0.0)
    # Scores less one mean per shared row and per seed, which have the grand mean in common.
    freedom = shared.sum((1, 2)) - (n_rows > 1).sum(1) - (n_seeds > 0).sum(1) + 1
    freedom = np.maximum(freedom, 0).astype(float)
    squares = ratio((residuals**2).sum((1, 2)), freedom * n)
    return Component(np.where(freedom > 0, squares, 0.0), freedom)


def _extremes(scores: Floats, finite: Flags) -> tuple[Floats, Floats]:
    low = np.where(finite, scores, np.inf).min(1, initial=np.inf)
    high = np.where(finite, scores, -np.inf).max(1, initial=-np.inf)
    return low, high
