"""Several methods over several data sets: rank tests, and the probability of equivalence.

Demšar, JMLR 7 (2006), 1-30, for Wilcoxon, Friedman and Nemenyi; Holm (1979) for many comparisons;
Benavoli, Corani, Mangili, Zaffalon and Ruggeri, ICML 2014, for the Bayesian signed-rank test.
Letters: `M` methods, `D` data sets. Scores are higher-is-better; a data set in which a method has
no score is left out, and counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import PCG64, Generator

from xai_bench.results.statistics.intervals import Floats

N_DRAWS = 20_000


@dataclass(frozen=True, eq=False)
class Friedman:
    """Do methods differ at all, and by how much must mean ranks differ?

    Attributes:
        ranks: `[M]` mean rank over data sets, 1 is best.
        chi_square, p_chi_square: Friedman's statistic, corrected for ties.
        f, p_f: that of Iman and Davenport, less conservative.
        critical_difference: Nemenyi's, of mean ranks, at the level asked for.
        p_nemenyi: `[M, M]`.
        n_data_sets, n_left_out: data sets in which all methods have a score, and others.
    """

    ranks: Floats
    chi_square: float
    p_chi_square: float
    f: float
    p_f: float
    critical_difference: float
    p_nemenyi: Floats
    n_data_sets: int
    n_left_out: int

    def groups(self) -> list[tuple[int, ...]]:
        """Maximal sets of methods, best first, whose ranks lie within the critical difference."""
        order = [int(i) for i in np.argsort(self.ranks, kind="stable")]
        groups: list[tuple[int, ...]] = []
        for start, first in enumerate(order):
            near = [
                i
                for i in order[start:]
                if self.ranks[i] - self.ranks[first] <= self.critical_difference
            ]
            if len(near) > 1 and not any(set(near) <= set(group) for group in groups):
                groups.append(tuple(near))
        return groups


def friedman(scores: Floats, level: float = 0.95) -> Friedman:
    """`[D, M]` scores. Raises ValueError for fewer than 2 complete data sets or 2 methods."""
    from scipy.stats import chi2, f, rankdata, studentized_range

    complete = scores[np.isfinite(scores).all(1)]
    n, k = complete.shape
    if n < 2 or k < 2:
        raise ValueError(f"{n} complete data sets of {k} methods; two of each are needed")
    ranks = rankdata(-complete, axis=1)
    mean = ranks.mean(0)
    # The variance of ranks within data sets is smaller where there are ties.
    squares = ((ranks - (k + 1) / 2) ** 2).sum() / (k - 1)
    statistic = n * n * ((mean - (k + 1) / 2) ** 2).sum() / squares if squares > 0 else 0.0
    residual = n * (k - 1) - statistic
    # Where all data sets rank alike nothing is left to divide by, and F has no bound.
    ratio = (n - 1) * statistic / residual if residual > 0 else np.inf
    # The standard error of a difference of two mean ranks, under equal methods.
    error = np.sqrt(k * (k + 1) / (6 * n))
    gaps = np.abs(mean[:, None] - mean) / error * np.sqrt(2)
    return Friedman(
        ranks=mean,
        chi_square=float(statistic),
        p_chi_square=float(chi2.sf(statistic, k - 1)),
        f=float(ratio),
        p_f=float(f.sf(ratio, k - 1, (k - 1) * (n - 1))),
        # Demsar's q is the quantile of the studentised range over the root of 2.
        critical_difference=float(studentized_range.ppf(level, k, np.inf) / np.sqrt(2) * error),
        p_nemenyi=np.asarray(studentized_range.sf(gaps, k, np.inf)),
        n_data_sets=n,
        n_left_out=len(scores) - n,
    )


def wilcoxon(first: Floats, second: Floats) -> float:
    """The p-value of equal scores `[D]`; 1 where no pair differs.

    Differences of 0 are ranked with the others and speak for neither side (Pratt 1959); exact for
    up to 50 pairs without ties.
    """
    from scipy.stats import wilcoxon as peer

    difference = first - second
    scored = difference[np.isfinite(difference)]
    if not scored.any():
        return 1.0
    # Pratt ranks zeros with the others and then leaves them out; Wilcoxon left them out before, as
    # if data sets without a difference had not been there.
    return float(peer(scored, zero_method="pratt").pvalue)


def holm(p_values: Sequence[float]) -> Floats:
    """Adjusted p-values: below 5 % where a difference stands among all that were looked at."""
    p = np.asarray(p_values, dtype=float)
    order = np.argsort(p, kind="stable")
    steps = p[order] * (len(p) - np.arange(len(p)))
    adjusted = np.empty_like(p)
    # Step down: no p-value is adjusted below a smaller one.
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return adjusted


@dataclass(frozen=True)
class Posterior:
    """The probabilities that the median difference is below, within and above the region."""

    worse: float
    equivalent: float
    better: float


def signed_rank(
    first: Floats, second: Floats, rope: float, n_draws: int = N_DRAWS, strength: float = 0.5
) -> Posterior:
    """Bayesian signed-rank test of scores `[D]` with a region of practical equivalence.

    The weights of the differences are Dirichlet, with one pseudo-difference of 0 of weight
    `strength`; a draw says how much weight the Walsh averages, of all pairs of differences, put on
    each of the three regions, and the probability of a region is how often it has most.
    """
    difference = first - second
    values = np.concatenate([[0.0], difference[np.isfinite(difference)]])
    if len(values) == 1:
        return Posterior(np.nan, np.nan, np.nan)
    averages = values[:, None] + values
    # They are sums of two differences, hence twice the region.
    below, above = averages < -2 * rope, averages > 2 * rope
    parameters = np.concatenate([[strength], np.ones(len(values) - 1)])
    # A fixed seed, so that a report is the same whenever it is written.
    weights = Generator(PCG64(0)).dirichlet(parameters, n_draws)
    mass = np.stack([_mass(weights, part) for part in (below, ~below & ~above, above)])
    most = mass == mass.max(0)
    worse, equivalent, better = (most / most.sum(0)).mean(1).tolist()
    return Posterior(worse, equivalent, better)


def _mass(weights: Floats, part: Floats) -> Floats:
    return np.asarray(((weights @ part) * weights).sum(1))
