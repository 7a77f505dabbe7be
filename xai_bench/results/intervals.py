"""Means of per-sample scores and their 95 % intervals: the one place that computes them.

The report and MLflow show the same number with the same interval, the percentile bootstrap of the
mean (Efron 1979). Rows with one index are one test row under every seed, so a resample draws seeds
and, apart from that, test rows (the crossed bootstrap of Owen 2007, arXiv:0712.1111); with one seed
this is the ordinary bootstrap over samples. A few seeds say little of how seeds differ: below about
five, intervals are too narrow where the seed matters most.
Letters: `E` explainers or metrics, `N` rows (samples under all seeds), `R` resamples.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.random import PCG64, Generator

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]

N_RESAMPLES = 2000
"""With 2000, either end of an interval has a standard error of 1.5 % of the width."""
LEVEL = 0.95
TAIL = (1 - LEVEL) / 2


def resamples(seeds: Ints, rows: Ints, n_resamples: int = N_RESAMPLES) -> Floats:
    """`[N], [N] -> [R, N]`: how often each row is drawn.

    The draws depend on seeds and rows alone, so all explainers and metrics share them: comparisons
    are paired.
    """
    generator = Generator(PCG64(0))
    return _draws(rows, n_resamples, generator) * _draws(seeds, n_resamples, generator)


def mean_intervals(scores: Floats, weights: Floats) -> tuple[Floats, Floats, Floats]:
    """`[E, N], [R, N] -> [E]` mean, low and high over the finite scores.

    NaN where nothing is scored. One scored row says nothing of the spread, so its interval is
    infinite.
    """
    finite = np.isfinite(scores)
    n_scored = finite.sum(1)
    filled = np.where(finite, scores, 0.0)
    center = np.where(n_scored > 0, ratio(filled.sum(1), n_scored), np.nan)
    # Deviations from the mean, not the scores: a large common offset would cost digits.
    deviations = filled - np.where(finite, center[:, None], 0)
    spread = ratio(weights @ deviations.T, weights @ finite.T)
    low, high = quantiles(spread, TAIL)
    unknown = np.where(n_scored == 1, np.inf, np.where(n_scored == 0, np.nan, 0.0))
    return center, center + low - unknown, center + high + unknown


def quantiles(draws: Floats, tail: float) -> Floats:
    """`[R, E] -> [2, E]`: the `tail` and `1 - tail` quantiles; 0 for a column without a number."""
    known = np.isfinite(draws).any(0)
    ends = np.zeros((2, draws.shape[1]))
    ends[:, known] = np.nanquantile(draws[:, known], (tail, 1 - tail), axis=0)
    return ends


def ratio(numerator: Any, denominator: Any) -> Floats:
    """Elementwise, broadcast; NaN where the denominator is not above 0."""
    out = np.full(np.broadcast(numerator, denominator).shape, np.nan)
    np.divide(numerator, denominator, out=out, where=np.asarray(denominator) > 0)
    return out


def _draws(ids: Ints, n_resamples: int, generator: Generator) -> Floats:
    """`[N] -> [R, N]`: draw as many distinct ids as there are, with replacement."""
    distinct, place = np.unique(ids, return_inverse=True)
    share = np.full(len(distinct), 1 / len(distinct))
    counts = generator.multinomial(len(distinct), share, size=n_resamples)
    return np.asarray(counts[:, place], dtype=np.float64)
