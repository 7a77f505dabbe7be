"""Effects, verdicts and the numbers needed: by hand, against statsmodels, and by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.random import PCG64, Generator

from xai_bench.results.statistics import effects

NAN = np.nan


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return Generator(PCG64(seed)).normal(size=shape)


def paired(one: np.ndarray, other: np.ndarray, rope: float) -> effects.Effect:
    rows = np.arange(len(one))
    return effects.effect(one, other, np.zeros_like(rows), rows, rope)


def test_a_real_but_tiny_difference_is_a_tie() -> None:
    """0.987 against 0.985 with next to no noise: significant, and of no consequence."""
    base = 0.985 + 0.001 * normal(200)
    found = paired(base + 0.002 + 1e-5 * normal(200, seed=1), base, rope=0.01)
    assert found.low > 0
    assert found.verdict == "equivalent"


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ((0.5, 0.3, 0.7), "better"),
        ((-0.5, -0.7, -0.3), "worse"),
        ((0.05, -0.05, 0.15), "undecided"),
        ((0.01, -0.05, 0.07), "equivalent"),
        ((0.08, 0.01, 0.15), "equivalent"),
        ((NAN, NAN, NAN), "unknown"),
        ((0.5, -math.inf, math.inf), "undecided"),
    ],
)
def test_verdicts(numbers: tuple[float, float, float], expected: str) -> None:
    assert effects.verdict(*numbers, 0.1) == expected


def test_effect_sizes_by_hand() -> None:
    """Differences 1, 1, 0, -2 and two that are not pairs: mean 0, 2 wins and a tie of 4."""
    one = np.array([2.0, 3.0, 4.0, 1.0, NAN, 9.0, NAN])
    other = np.array([1.0, 2.0, 4.0, 3.0, 5.0, NAN, NAN])
    found = paired(one, other, 0.1)
    assert (found.difference, found.superiority) == (0, 0.625)
    assert (found.n_pairs, found.n_left_out) == (4, 2)
    found = paired(np.array([1.0, 3.0]), np.array([0.0, 0.0]), 0.1)
    assert found.standardised == pytest.approx(2 / math.sqrt(2))


def test_power_agrees_with_statsmodels() -> None:
    peers = pytest.importorskip("statsmodels.stats.power")
    for d, n in ((0.5, 30), (0.2, 100), (1.0, 5)):
        peer = peers.TTestPower().power(d, n, 0.05)
        assert effects.power(d, 1 / n, n - 1) == pytest.approx(peer, abs=1e-6)


def test_rows_needed_of_one_seed_is_the_textbook_number() -> None:
    """Cohen: d = 0.5 of pairs needs 34 at 80 % power; d = 0.2 needs 199."""
    x = normal(5000)
    x = (x - x.mean()) / x.std(ddof=1)
    rows = np.arange(5000)
    for d, n in ((0.5, 34), (0.2, 199)):
        found = effects.needed(x, np.zeros_like(x), np.zeros_like(rows), rows, d)
        assert found.rows == n
        assert found.seeds is None


def test_where_seeds_differ_most_no_number_of_rows_is_enough() -> None:
    y = (normal(4, 1) + 0.1 * normal(4, 50, seed=1)).ravel()
    seeds, rows = np.repeat(np.arange(4), 50), np.tile(np.arange(50), 4)
    found = effects.needed(y, np.zeros_like(y), seeds, rows, 0.1)
    assert found.rows is None
    assert found.seeds is not None
    assert found.seeds > 20


def test_scale_is_the_way_from_random_to_the_oracle() -> None:
    scores = np.array([1.0, 3.0, NAN])
    assert effects.scale(scores) == 1.0
    assert effects.scale(scores, np.array([0.1, NAN]), np.array([0.9])) == pytest.approx(0.8)
    assert effects.scale(scores, np.array([0.1]), np.array([NAN])) == 1.0


def test_verdicts_of_no_difference_are_rarely_wrong() -> None:
    """500 worlds in which both methods are the same: better or worse in at most 5 %."""
    worlds = normal(500, 2, 40)
    found = [paired(one, other, 0.05).verdict for one, other in worlds]
    assert sum(v in ("better", "worse") for v in found) / 500 <= 0.07
