"""Intervals of means: worked by hand, against SciPy, and by simulated coverage."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.random import PCG64, Generator
from scipy import stats

from xai_bench.results.statistics import intervals

NAN = np.nan


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return Generator(PCG64(seed)).normal(size=shape)


def crossed(cube: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`[E, S, R]` as scores, seeds and rows."""
    n, s, r = cube.shape
    return cube.reshape(n, -1), np.repeat(np.arange(s), r), np.tile(np.arange(r), s)


def half(cube: np.ndarray, level: float = 0.95) -> np.ndarray:
    mean, low, high = intervals.mean_intervals(*crossed(cube), level=level)
    assert (high - mean) == pytest.approx(mean - low, nan_ok=True)
    return (high - low) / 2


@pytest.mark.parametrize("level", [0.9, 0.95, 0.99])
def test_one_seed_has_students_interval(level: float) -> None:
    x = normal(3, 1, 40)
    peers = [np.diff(stats.t.interval(level, 39, 0, stats.sem(y[0])))[0] / 2 for y in x]
    assert half(x, level) == pytest.approx(peers)


def test_rows_of_their_own_have_the_interval_of_the_seed_means() -> None:
    """No row is under two seeds, so seeds are the clusters."""
    y = normal(4, 30) + np.arange(4)[:, None]
    _, low, high = intervals.mean_intervals(
        y.reshape(1, -1), np.repeat(np.arange(4), 30), np.arange(120)
    )
    peer = stats.t.interval(0.95, 3, y.mean(), stats.sem(y.mean(1)))
    assert (low[0], high[0]) == pytest.approx(peer)


def test_mean_squares_are_those_of_a_worked_two_way_table() -> None:
    """3 seeds x 2 rows, mean 3.5 and total sum of squares 17.5.

    Seed means 1.5, 4.5, 4.5 give 2 * 6 = 12, MS 6; row means 3, 4 give 3 * 0.5 = 1.5, MS 1.5;
    what is left is 4 over 2 degrees of freedom, MS 2.
    """
    cube = np.array([[[1.0, 2.0], [3.0, 6.0], [5.0, 4.0]]])
    scores, seeds, rows = crossed(cube)
    found = intervals.spread(scores - scores.mean(), seeds, rows)
    assert 6 * found.seeds.variance == pytest.approx(6)
    assert 6 * found.rows.variance == pytest.approx(1.5)
    assert 6 * found.rest.variance == pytest.approx(2)
    freedoms = [p.degrees_of_freedom[0] for p in (found.seeds, found.rows, found.rest)]
    assert freedoms == [2, 1, 2]


def test_unscored_samples_are_left_out_and_one_has_no_bounds() -> None:
    scores = np.array([[1.0, NAN, 3.0], [NAN, NAN, NAN], [4.0, NAN, NAN], [2.0, 2.0, 2.0]])
    mean, low, high = intervals.mean_intervals(scores, np.zeros(3, int), np.arange(3))
    assert mean == pytest.approx([2, NAN, 4, 2], nan_ok=True)
    assert (low[2], high[2]) == (-np.inf, np.inf)
    assert np.isnan([low[1], high[1]]).all()
    assert (low[3], high[3]) == (2, 2)


def test_the_order_of_samples_does_not_matter() -> None:
    scores, seeds, rows = crossed(normal(2, 3, 20))
    order = Generator(PCG64(1)).permutation(60)
    one = intervals.mean_intervals(scores, seeds, rows)
    two = intervals.mean_intervals(scores[:, order], seeds[order], rows[order])
    assert np.array(one) == pytest.approx(np.array(two))


def test_equal_rows_under_other_seeds_are_no_new_evidence() -> None:
    row = normal(1, 1, 16)
    assert half(np.repeat(row, 8, axis=1)) == pytest.approx(half(row), rel=0.02)


MANY = [pytest.param(n, marks=pytest.mark.exhaustive) for n in (10, 20)]


@pytest.mark.sample(3, others="slow")
@pytest.mark.parametrize("n_seeds", [3, 5, *MANY])
@pytest.mark.parametrize(
    "effects", [(0, 1, 0.3), (0, 0, 1), (0.05, 1, 0.5), (0.3, 1, 1), (1, 1, 1)], ids=str
)
@pytest.mark.parametrize("tail", ["normal", "heavy"])
def test_intervals_cover(n_seeds: int, effects: tuple[float, float, float], tail: str) -> None:
    """2000 worlds each: 93 to 97 %, and two standard errors for the draws."""
    assert 0.92 <= covered(n_seeds, 48, effects, tail) <= 0.98


def test_a_missing_fifth_changes_little() -> None:
    assert 0.92 <= covered(5, 48, (0.3, 1, 1), "normal", missing=0.2) <= 0.98


def covered(
    n_seeds: int, n_rows: int, effects: tuple[float, float, float], tail: str, missing: float = 0
) -> float:
    rng = Generator(PCG64(n_seeds))

    def noise(*shape: int) -> np.ndarray:
        return rng.normal(size=shape) if tail == "normal" else rng.standard_t(3, shape) / 3**0.5

    a, b, e = effects
    n = 2000
    cube = a * rng.normal(size=(n, n_seeds, 1)) + b * noise(n, 1, n_rows)
    cube = cube + e * noise(n, n_seeds, n_rows)
    cube[rng.random(cube.shape) < missing] = NAN
    _, low, high = intervals.mean_intervals(*crossed(cube))
    return float(((low <= 0) & (high >= 0)).mean())
