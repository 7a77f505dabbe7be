"""Paired comparisons of per-sample scores: differences from the best, ties, and skill.

All explainers face the same samples and the same random draws, so they are compared sample by
sample, with the intervals of `xai_bench.results.statistics.intervals`.
Letters: `E` explainers, `N` rows (samples under all seeds).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from xai_bench.results.statistics.intervals import Flags, Floats, Ints, mean_intervals

SAME = 1e-6
"""Differences this small beside the largest score are rounding errors of the model's outputs."""


@dataclass(frozen=True, eq=False)
class Comparison:
    """One metric over all explainers; every field is `[E]`, NaN where nothing could be scored.

    Attributes:
        mean, low, high: the mean over scored rows and its interval.
        difference, difference_low, difference_high: the mean of `score - best's score` over the
            rows where both are scored, and its interval.
        best: has the best mean of all that are ranked; several where means are equal up to
            rounding.
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
    ranked: Flags,
) -> Comparison:
    """`scores [E, N]` (NaN: unscored), `seeds [N]` and `rows [N]` as ids, `ranked [E]`.

    The best is one of the ranked explainers, so that controls do not decide a comparison.
    """
    mean, low, high = mean_intervals(scores, seeds, rows)
    best = _best(mean if higher_is_better else -mean, ranked)
    # Several may be best up to rounding: the first stands for all of them.
    rival = scores[best][:1] if best.any() else np.full((1, scores.shape[1]), np.nan)
    # Of paired differences: what makes a sample hard for all explainers cancels.
    difference, below, above = mean_intervals(scores - rival, seeds, rows)
    margin = SAME * np.abs(scores, where=np.isfinite(scores), out=np.zeros_like(scores)).max()
    return Comparison(
        mean=mean,
        low=low,
        high=high,
        difference=difference,
        difference_low=below,
        difference_high=above,
        best=best,
        tied=ranked & ~best & (below <= margin) & (above >= -margin),
        n_scored=np.isfinite(scores).sum(1),
    )


def skill(mean: Floats, explainers: Sequence[str]) -> Floats:
    """`[E] -> [E]`: (score - random) / (oracle - random); NaN where a control has no score."""
    place: Mapping[str, int] = {name: i for i, name in enumerate(explainers)}
    if not {"random", "oracle"} <= place.keys():
        return np.full(len(mean), np.nan)
    floor, ceiling = mean[place["random"]], mean[place["oracle"]]
    # Where a metric does not tell the best from noise there is no scale between the two.
    if not np.isfinite(ceiling - floor) or ceiling == floor:
        return np.full(len(mean), np.nan)
    return np.asarray((mean - floor) / (ceiling - floor), dtype=np.float64)


def _best(worth: Floats, ranked: Flags) -> Flags:
    """`[E], [E] -> [E]`: the ranked explainers whose mean is the largest, up to rounding."""
    scored = ranked & np.isfinite(worth)
    if not scored.any():
        return scored
    top = worth[scored].max()
    return np.asarray(scored & (np.where(scored, worth, -np.inf) >= top - SAME * abs(top)))
