"""Proves comparisons: the best, ties and skill, by hand, against SciPy and by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.random import PCG64, Generator
from scipy.stats import sem, t

from xai_bench.results.report import stats

NAN = np.nan


def compare(
    scores: object, *, seeds: object = None, higher: bool = True, ranked: object = None
) -> stats.Comparison:
    matrix = np.array(scores, dtype=float)
    n = matrix.shape[1]
    groups = np.zeros(n, dtype=int) if seeds is None else np.array(seeds)
    rows = np.concatenate([np.arange((groups == g).sum()) for g in np.unique(groups)])
    able = np.full(len(matrix), True) if ranked is None else np.array(ranked)
    return stats.compare(matrix, groups, rows, higher_is_better=higher, ranked=able)


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return Generator(PCG64(seed)).normal(size=shape)


def test_means_leave_out_unscored_samples() -> None:
    found = compare([[1.0, NAN, 3.0], [NAN, NAN, NAN], [4.0, NAN, NAN]])
    assert found.mean.tolist()[::2] == [2.0, 4.0]
    assert np.isnan(found.mean[1])
    assert found.n_scored.tolist() == [2, 0, 1]


def test_a_constant_has_no_interval_width_and_one_sample_has_no_bounds() -> None:
    found = compare([[2.0, 2.0, 2.0], [1.0, NAN, NAN]])
    assert (found.low[0], found.high[0]) == (2.0, 2.0)
    assert (found.low[1], found.high[1]) == (-np.inf, np.inf)


def test_the_interval_of_one_seed_is_students() -> None:
    x = normal(200) * 2 + 5
    found = compare([x])
    assert (found.low[0], found.high[0]) == pytest.approx(t.interval(0.95, 199, x.mean(), sem(x)))


def test_paired_differences_show_what_means_alone_cannot() -> None:
    """A difference of 0.1 under sample effects a hundred times as large."""
    sample = normal(64) * 10
    found = compare([sample, sample + 0.1 + normal(64, seed=1) * 0.01])
    assert found.best.tolist() == [False, True]
    assert found.tied.tolist() == [False, False]
    assert found.low[1] < found.mean[0] < found.high[1]
    assert found.difference[0] == pytest.approx(-0.1, abs=0.01)


def test_equal_explainers_are_tied_and_worse_ones_are_not() -> None:
    base = normal(64)
    noisy = base + (noise := normal(64, seed=1)) - noise.mean() - 0.01
    found = compare([base, noisy, base - 3, base + 1e-12])
    assert found.best.tolist() == [True, False, False, True]
    assert found.tied.tolist() == [False, True, False, False]


def test_equal_means_are_all_best_and_a_slightly_smaller_one_is_not() -> None:
    found = compare([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0], [1.0, 2.0, 2.9999]])
    assert found.best.tolist() == [True, True, False]
    found = compare([[0.0, 0.0], [0.0, 0.0], [1.0, 1.0]], higher=False)
    assert found.best.tolist() == [True, True, False]
    assert not found.tied.any()


@pytest.mark.parametrize(("higher", "best"), [(True, 1), (False, 0)])
def test_the_direction_decides_which_is_best(higher: bool, best: int) -> None:
    found = compare([[1.0, 1.1, 0.9], [2.0, 2.1, 1.9]], higher=higher)
    assert found.best.argmax() == best


def test_a_control_is_never_best_nor_tied() -> None:
    same = [1.0, 1.1, 0.9]
    near = [1.1, 0.8, 1.0]
    found = compare([[9.0, 9.1, 9.2], same, near, same], ranked=[False, True, True, False])
    assert found.best.tolist() == [False, True, False, False]
    assert found.tied.tolist() == [False, False, True, False]
    assert found.difference[0] == pytest.approx(8.1)


def test_the_best_is_compared_where_both_are_scored() -> None:
    """The second leaves out the hard samples: its mean is higher, the difference is zero."""
    hard = [1.0, 1.0, 1.0, -9.0, -9.0]
    easy = [1.0, 1.0, 1.0, NAN, NAN]
    found = compare([hard, easy])
    assert found.best.tolist() == [False, True]
    assert found.difference[0] == 0
    assert found.tied.tolist() == [True, False]


def test_none_is_best_where_nothing_is_scored() -> None:
    found = compare([[NAN, NAN], [NAN, NAN]])
    assert not found.best.any()
    assert not found.tied.any()
    assert np.isnan(found.difference).all()


def test_a_shared_sample_stays_shared_over_seeds() -> None:
    """The same 16 test rows under 8 seeds are 16 rows of evidence, not 128."""
    sample = normal(16)
    one = compare([sample])
    eight = compare([np.tile(sample, 8)], seeds=np.repeat(np.arange(8), 16))
    assert eight.high - eight.low == pytest.approx(one.high - one.low, rel=0.15)


def test_seeds_that_disagree_widen_the_interval() -> None:
    noise = normal(5, 64) * 0.01
    apart = noise + np.arange(5)[:, None]
    seeds = np.repeat(np.arange(5), 64)
    wide, tight = (compare([m.ravel()], seeds=seeds) for m in (apart, noise))
    assert (wide.high - wide.low)[0] > 1
    assert (tight.high - tight.low)[0] < 0.01


def test_the_same_data_gives_the_same_bits() -> None:
    x = normal(3, 50)
    one, two = compare(x), compare(x)
    assert one.low.tolist() == two.low.tolist()
    assert compare(x[:1]).low[0] == pytest.approx(one.low[0], abs=1e-12)


def test_skill_is_0_at_random_and_1_at_the_oracle() -> None:
    names = ["oracle", "lime", "random"]
    assert stats.skill(np.array([0.9, 0.5, 0.1]), names) == pytest.approx([1.0, 0.5, 0.0])
    assert np.isnan(stats.skill(np.array([0.9, 0.5, 0.1]), ["ig", "lime", "random"])).all()
    assert np.isnan(stats.skill(np.array([0.1, 0.5, 0.1]), names)).all()
    assert np.isnan(stats.skill(np.array([NAN, 0.5, 0.1]), names)).all()


@pytest.mark.parametrize(
    ("n_seeds", "n_rows", "seed", "sample", "noise"),
    [(1, 64, 0, 1, 0), (5, 64, 0, 1, 1), (5, 64, 0.05, 1, 0.5), (8, 64, 0.5, 1, 1)],
)
def test_the_interval_covers_the_truth(
    n_seeds: int, n_rows: int, seed: float, sample: float, noise: float
) -> None:
    """Scores are seed effect + sample effect + noise around 0; 200 worlds, as 200 explainers."""
    draw = Generator(PCG64(1))
    n = 200
    scores = (
        seed * draw.normal(size=(n, n_seeds, 1))
        + sample * draw.normal(size=(n, 1, n_rows))
        + noise * draw.normal(size=(n, n_seeds, n_rows))
    ).reshape(n, -1)
    found = compare(scores, seeds=np.repeat(np.arange(n_seeds), n_rows))
    covered = ((found.low <= 0) & (found.high >= 0)).mean()
    assert 0.91 <= covered <= 0.985
