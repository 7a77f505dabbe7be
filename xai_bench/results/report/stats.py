"""Means, intervals and paired comparisons of per-sample scores.

All explainers face the same samples and the same random draws, so they are compared sample by
sample. Rows with one index are one test row under every seed, so a resample draws seeds and, apart
from that, test rows (the crossed bootstrap of Owen 2007, arXiv:0712.1111); with one seed this is
the ordinary bootstrap over samples. A few seeds say little of how seeds differ: below about five,
intervals are too narrow where the seed matters most.
Letters: `E` explainers, `N` rows (samples under all seeds).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.random import PCG64, Generator

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]

N_RESAMPLES = 2000
LEVEL = 0.95
SAME = 1e-6
"""Differences this small beside the largest score are rounding, not findings."""


@dataclass(frozen=True, eq=False)
class Comparison:
    """One metric over all explainers; every field is `[E]`, NaN where nothing could be scored.

    Attributes:
        mean, low, high: the mean over scored rows and its interval.
        difference, difference_low, difference_high: the mean of `score - best's score` over the
            rows where both are scored, and its interval.
        best: has the best mean of all candidates; several where means are equal up to rounding.
        tied: is not the best, and the interval of the difference holds 0.
        n_scored: rows with a finite score.
    """

    mean: Floats
    low: Floats
    high: Floats
    difference: Floats
    difference_low: Floats
    difference_high: Floats
    best: Flags
    tied: Flags
    n_scored: Ints


def compare(
    scores: Floats,
    seeds: Ints,
    rows: Ints,
    *,
    higher_is_better: bool,
    candidates: Flags,
) -> Comparison:
    """`scores [E, N]` (NaN: unscored), `seeds [N]` and `rows [N]` as ids, `candidates [E]`.

    The best is sought among the candidates alone, so that controls do not decide a comparison.
    """
    weights = resamples(seeds, rows)
    mean, low, high = _summary(scores, weights)
    best = _best(mean if higher_is_better else -mean, candidates)
    rival = scores[best][:1] if best.any() else np.full((1, scores.shape[1]), np.nan)
    difference, below, above = _summary(scores - rival, weights)
    margin = SAME * np.abs(scores, where=np.isfinite(scores), out=np.zeros_like(scores)).max()
    return Comparison(
        mean=mean,
        low=low,
        high=high,
        difference=difference,
        difference_low=below,
        difference_high=above,
        best=best,
        tied=candidates & ~best & (below <= margin) & (above >= -margin),
        n_scored=np.isfinite(scores).sum(1),
    )


def resamples(seeds: Ints, rows: Ints, n_resamples: int = N_RESAMPLES) -> Floats:
    """`[N], [N] -> [n_resamples, N]`: how often each row is drawn; the same for all explainers."""
    generator = Generator(PCG64(0))
    return _draws(rows, n_resamples, generator) * _draws(seeds, n_resamples, generator)


def skill(mean: Floats, explainers: list[str]) -> Floats:
    """`[E] -> [E]`: (score - random) / (oracle - random); NaN where either control is unknown."""
    place: Mapping[str, int] = {name: i for i, name in enumerate(explainers)}
    if not {"random", "oracle"} <= place.keys():
        return np.full(len(mean), np.nan)
    floor, ceiling = mean[place["random"]], mean[place["oracle"]]
    if not np.isfinite(ceiling - floor) or ceiling == floor:
        return np.full(len(mean), np.nan)
    found: Floats = (mean - floor) / (ceiling - floor)
    return found


def _best(worth: Floats, candidates: Flags) -> Flags:
    """`[E] -> [E]`: marks the candidates with the largest mean, if any has one."""
    known = candidates & np.isfinite(worth)
    if not known.any():
        return known
    top = worth[known].max()
    best: Flags = known & (np.where(known, worth, -np.inf) >= top - SAME * abs(top))
    return best


def _draws(ids: Ints, n_resamples: int, generator: Generator) -> Floats:
    """`[N] -> [n_resamples, N]`: draw as many distinct ids as there are, with replacement."""
    kinds, place = np.unique(ids, return_inverse=True)
    share = np.full(len(kinds), 1 / len(kinds))
    counts = generator.multinomial(len(kinds), share, size=n_resamples)
    found: Floats = counts[:, place].astype(np.float64)
    return found


def _summary(scores: Floats, weights: Floats) -> tuple[Floats, Floats, Floats]:
    """`[E, N], [n_resamples, N] -> [E]` mean, low and high over the finite scores.

    One scored row says nothing of spread, so its interval is everything.
    """
    finite = np.isfinite(scores)
    n_scored = finite.sum(1)
    filled = np.where(finite, scores, 0.0)
    center = np.where(n_scored > 0, ratio(filled.sum(1), n_scored), np.nan)
    spread = ratio(weights @ (filled - np.where(finite, center[:, None], 0)).T, weights @ finite.T)
    tails = (1 - LEVEL) / 2, (1 + LEVEL) / 2
    low, high = _quantiles(spread, tails)
    unknown = np.where(n_scored == 1, np.inf, np.where(n_scored == 0, np.nan, 0.0))
    return center, center + low - unknown, center + high + unknown


def ratio(above: Any, below: Any) -> Floats:
    out = np.full(np.broadcast(above, below).shape, np.nan)
    np.divide(above, below, out=out, where=np.asarray(below) > 0)
    return out


def _quantiles(spread: Floats, tails: tuple[float, float]) -> Floats:
    """`[n_resamples, E] -> [2, E]`; a column without any number gives 0."""
    known = np.isfinite(spread).any(0)
    out = np.zeros((2, spread.shape[1]))
    out[:, known] = np.nanquantile(spread[:, known], tails, axis=0)
    return out
