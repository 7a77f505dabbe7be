"""What eight intervals of a mean cover, by simulation: 95 % is asked for.

    python benchmarks/intervals.py             the table of docs/statistics.md
    python benchmarks/intervals.py --mixed     with the mixed model of statsmodels (minutes)

Scores are an effect of the seed, an effect of the test row, and noise, around a known mean; rows
are shared by all seeds, as in a study. Rows and noise are normal, Student's with 3 degrees
of freedom (heavy tails) or log-normal (skewed).
"""

from __future__ import annotations

import argparse
import itertools
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numpy.random import PCG64, Generator
from scipy import stats

from xai_bench.results.statistics import intervals

Floats = npt.NDArray[np.float64]
Way = Callable[[Floats, Generator], tuple[Floats, Floats]]
"""`[W, S, R]` scores of `W` worlds -> `[W]` ends of the interval of each."""

SEEDS = (3, 5, 10, 20)
ROWS = (16, 64)
EFFECTS = ((0, 1, 0.3), (0, 0, 1), (0.05, 1, 0.5), (0.1, 0.3, 1), (0.3, 1, 1), (1, 1, 1))
"""Standard deviations of the seed's effect, the row's effect, and noise."""
TAILS = ("normal", "heavy", "skewed")
N_WORLDS, N_RESAMPLED, N_MIXED = 2000, 300, 60
N_RESAMPLES = 300
CHUNK = 500


@dataclass(frozen=True)
class World:
    seeds: int
    rows: int
    effects: tuple[float, float, float]
    tail: str

    def draw(self, n: int, rng: Generator) -> Floats:
        """`[n, S, R]` scores around 0."""
        a, b, e = self.effects
        seed = a * rng.normal(size=(n, self.seeds, 1))
        row = b * _noise(self.tail, (n, 1, self.rows), rng)
        return np.asarray(seed + row + e * _noise(self.tail, (n, self.seeds, self.rows), rng))


def _noise(tail: str, shape: tuple[int, ...], rng: Generator) -> Floats:
    """Mean 0 and variance 1."""
    if tail == "heavy":
        return np.asarray(rng.standard_t(3, shape) / np.sqrt(3))
    if tail == "skewed":
        law = stats.lognorm(0.8)
        return np.asarray((rng.lognormal(0, 0.8, shape) - law.mean()) / law.std())
    return rng.normal(size=shape)


def ours(scores: Floats, rng: Generator) -> tuple[Floats, Floats]:
    _, s, r = scores.shape
    seeds, rows = np.repeat(np.arange(s), r), np.tile(np.arange(r), s)
    _, low, high = intervals.mean_intervals(scores.reshape(len(scores), -1), seeds, rows)
    return low, high


def rows_alone(scores: Floats, rng: Generator) -> tuple[Floats, Floats]:
    """Student's, as if every score were a sample of its own."""
    flat = scores.reshape(len(scores), -1)
    return _student(flat.mean(1), flat.var(1, ddof=1) / flat.shape[1], flat.shape[1] - 1)


def cluster_t(scores: Floats, rng: Generator) -> tuple[Floats, Floats]:
    """Student's of the seed means."""
    means = scores.mean(2)
    return _student(means.mean(1), means.var(1, ddof=1) / means.shape[1], means.shape[1] - 1)


def satterthwaite(scores: Floats, rng: Generator) -> tuple[Floats, Floats]:
    mean, squares, freedom = _mean_squares(scores)
    variance = np.maximum(squares[0] + squares[1] - squares[2], 1e-12)
    lost = (squares**2 / freedom).sum(0)
    return _student(mean, variance, np.maximum(variance**2 / lost, 1))


def cochran_cox(scores: Floats, rng: Generator) -> tuple[Floats, Floats]:
    mean, squares, freedom = _mean_squares(scores)
    wide = stats.t.ppf(0.975, freedom) ** 2 * squares
    half = np.sqrt(np.maximum(wide[0] + wide[1] - wide[2], np.minimum(wide[0], wide[1])))
    return mean - half, mean + half


def crossed_bootstrap(scores: Floats, rng: Generator) -> tuple[Floats, Floats]:
    """Percentiles of means over seeds and, apart from that, rows drawn anew (version 0.1.0)."""
    low, high = np.quantile(_crossed(scores, rng), (0.025, 0.975), axis=0)
    return low, high


def hierarchical_bootstrap(scores: Floats, rng: Generator) -> tuple[Floats, Floats]:
    """Percentiles of means over seeds drawn anew and, within each, its rows drawn anew."""
    _, s, r = scores.shape
    draws = []
    for _ in range(N_RESAMPLES):
        weights = rng.multinomial(r, np.full(r, 1 / r), size=s) / r
        inner = np.einsum("wsr,sr->ws", scores, weights)
        draws.append(inner @ (rng.multinomial(s, np.full(s, 1 / s)) / s))
    low, high = np.quantile(np.array(draws), (0.025, 0.975), axis=0)
    return low, high


def bca_bootstrap(scores: Floats, rng: Generator) -> tuple[Floats, Floats]:
    """Bias-corrected and accelerated: the acceleration is that of leaving out one seed."""
    draws, center = _crossed(scores, rng), scores.mean((1, 2))
    below = np.clip((draws < center).mean(0), 1e-3, 1 - 1e-3)
    bias = stats.norm.ppf(below)
    left_out = (scores.mean(2).sum(1, keepdims=True) - scores.mean(2)) / (scores.shape[1] - 1)
    apart = left_out.mean(1, keepdims=True) - left_out
    speed = (apart**3).sum(1) / (6 * (apart**2).sum(1) ** 1.5)
    ends = []
    for tail in (0.025, 0.975):
        z = bias + stats.norm.ppf(tail)
        place = stats.norm.cdf(bias + z / (1 - speed * z))
        ends.append(np.array([np.quantile(d, p) for d, p in zip(draws.T, place, strict=True)]))
    return ends[0], ends[1]


def mixed_model(scores: Floats, rng: Generator) -> tuple[Floats, Floats]:
    """Restricted maximum likelihood with crossed random effects; Student's over the seeds."""
    import pandas as pd
    from statsmodels.formula.api import mixedlm

    ends = []
    for world in scores:
        seed, row = np.indices(world.shape)
        frame = pd.DataFrame({"y": world.ravel(), "s": seed.ravel(), "r": row.ravel(), "g": 1})
        parts = {"seed": "0 + C(s)", "row": "0 + C(r)"}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fit = mixedlm("y ~ 1", frame, groups="g", vc_formula=parts, re_formula="0").fit()
        half = stats.t.ppf(0.975, len(world) - 1) * fit.bse_fe.iloc[0]
        ends.append((fit.fe_params.iloc[0] - half, fit.fe_params.iloc[0] + half))
    low, high = np.array(ends).T
    return low, high


WAYS: dict[str, tuple[Way, int]] = {
    "ours": (ours, N_WORLDS),
    "samples alone (t)": (rows_alone, N_WORLDS),
    "cluster t of seed means": (cluster_t, N_WORLDS),
    "Satterthwaite": (satterthwaite, N_WORLDS),
    "Cochran and Cox": (cochran_cox, N_WORLDS),
    "crossed bootstrap (0.1.0)": (crossed_bootstrap, N_RESAMPLED),
    "hierarchical bootstrap": (hierarchical_bootstrap, N_RESAMPLED),
    "BCa bootstrap": (bca_bootstrap, N_RESAMPLED),
}


def coverage(world: World, way: Way, n: int) -> float:
    """The share of `n` worlds whose interval holds the true mean, 0."""
    rng, held = Generator(PCG64(7)), 0
    for start in range(0, n, CHUNK):
        low, high = way(world.draw(min(CHUNK, n - start), rng), rng)
        held += int(((low <= 0) & (high >= 0)).sum())
    return held / n


def worlds(seeds: tuple[int, ...] = SEEDS, rows: tuple[int, ...] = ROWS) -> list[World]:
    return [World(*one) for one in itertools.product(seeds, rows, EFFECTS, TAILS)]


def summary(name: str, way: Way, n: int, some: list[World]) -> str:
    """One row: the least and the most covered, and the share of worlds within 93 and 97 %."""
    found = [(w, coverage(w, way, n)) for w in some]
    slack = 200 * np.sqrt(0.05 * 0.95 / n)  # what the draws alone explain, in percent
    cells = [name]
    for tail in TAILS:
        for few in (True, False):
            shares = [100 * c for w, c in found if w.tail == tail and (w.seeds <= 5) == few]
            if not shares:
                cells.append("–")
                continue
            good = np.mean([93 - slack <= c <= 97 + slack for c in shares])
            cells.append(f"{min(shares):.0f} to {max(shares):.0f} ({100 * good:.0f} %)")
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mixed", action="store_true", help="the mixed model too")
    chosen = parser.parse_args()
    heads = [f"{tail}, {n} seeds" for tail in TAILS for n in ("3, 5", "10, 20")]
    sys.stdout.write(f"| interval | {' | '.join(heads)} |\n|{'---|' * 7}\n")
    for name, (way, n) in WAYS.items():
        sys.stdout.write(summary(name, way, n, worlds()) + "\n")
        sys.stdout.flush()
    if chosen.mixed:
        few = worlds(SEEDS[:2], ROWS[:1])
        sys.stdout.write(summary("mixed model", mixed_model, N_MIXED, few) + "\n")


def _crossed(scores: Floats, rng: Generator) -> Floats:
    """`[n_resamples, W]` means."""
    _, s, r = scores.shape
    by_seed = rng.multinomial(s, np.full(s, 1 / s), size=N_RESAMPLES) / s
    by_row = rng.multinomial(r, np.full(r, 1 / r), size=N_RESAMPLES) / r
    return np.asarray(np.einsum("wsr,ns,nr->nw", scores, by_seed, by_row, optimize=True))


def _mean_squares(scores: Floats) -> tuple[Floats, Floats, Floats]:
    """The mean `[W]`, its variance by seeds, rows and rest `[3, W]`, and degrees of freedom."""
    _, s, r = scores.shape
    mean = scores.mean((1, 2))
    by_seed, by_row = scores.mean(2), scores.mean(1)
    left = scores - by_seed[:, :, None] - by_row[:, None] + mean[:, None, None]
    freedom = np.array([s - 1, r - 1, (s - 1) * (r - 1)], dtype=float)[:, None]
    rest = (left**2).sum((1, 2)) / freedom[2] / (s * r)
    squares = np.stack([by_seed.var(1, ddof=1) / s, by_row.var(1, ddof=1) / r, rest])
    return mean, squares, freedom


def _student(center: Floats, variance: Floats, freedom: Floats | int) -> tuple[Floats, Floats]:
    half = stats.t.ppf(0.975, freedom) * np.sqrt(variance)
    return center - half, center + half


if __name__ == "__main__":
    main()
