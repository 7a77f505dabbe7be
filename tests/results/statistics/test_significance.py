"""Rank tests against the worked example of Demšar (JMLR 2006) and SciPy."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.random import PCG64, Generator
from scipy import stats

from xai_bench.results.statistics import significance

NAMES = ("C4.5", "C4.5+m", "C4.5+cf", "C4.5+m+cf")
AUC = np.array([
    [0.763, 0.768, 0.771, 0.798],
    [0.599, 0.591, 0.590, 0.569],
    [0.954, 0.971, 0.968, 0.967],
    [0.628, 0.661, 0.654, 0.657],
    [0.882, 0.888, 0.886, 0.898],
    [0.936, 0.931, 0.916, 0.931],
    [0.661, 0.668, 0.609, 0.685],
    [0.583, 0.583, 0.563, 0.625],
    [0.775, 0.838, 0.866, 0.875],
    [1.000, 1.000, 1.000, 1.000],
    [0.940, 0.962, 0.965, 0.962],
    [0.619, 0.666, 0.614, 0.669],
    [0.972, 0.981, 0.9751, 0.975],
    [0.957, 0.978, 0.946, 0.970],
])  # fmt: skip
"""Table 6 of the paper: area under the curve of four trees on 14 data sets."""


def normal(*shape: int) -> np.ndarray:
    return Generator(PCG64(0)).normal(size=shape)


def test_demsars_friedman_test() -> None:
    """Ranks 3.143, 2.000, 2.893, 1.964; chi-square 9.28 and F 3.69 as the paper has them.

    The paper does not correct for ties, of which there are a few; corrected it is larger.
    """
    found = significance.friedman(AUC)
    assert found.ranks == pytest.approx([3.143, 2.000, 2.893, 1.964], abs=0.001)
    untied = 12 * 14 / (4 * 5) * (sum(found.ranks**2) - 4 * 25 / 4)
    assert untied == pytest.approx(9.28, abs=0.01)
    assert 13 * untied / (14 * 3 - untied) == pytest.approx(3.69, abs=0.01)
    peer = stats.friedmanchisquare(*AUC.T)
    assert (found.chi_square, found.p_chi_square) == pytest.approx((peer.statistic, peer.pvalue))
    assert found.p_f < 0.05


def test_demsars_nemenyi_test() -> None:
    """The critical difference is 2.569 sqrt(4 * 5 / (6 * 14)) = 1.25, at 10 % 1.12."""
    assert significance.friedman(AUC).critical_difference == pytest.approx(1.25, abs=0.005)
    found = significance.friedman(AUC, level=0.9)
    assert found.critical_difference == pytest.approx(1.12, abs=0.005)
    # At 10 % C4.5 differs from +m (1.143 apart) and +m+cf (1.179), and nothing else does.
    apart = {(i, j) for i, j in zip(*np.nonzero(found.p_nemenyi < 0.1), strict=True) if i < j}
    assert apart == {(0, 1), (0, 3)}
    assert found.groups() == [(3, 1, 2), (2, 0)]


def test_demsars_wilcoxon_test() -> None:
    """C4.5 against C4.5+m over 14 data sets: the smaller rank sum is 12, significant at 5 %."""
    assert significance.wilcoxon(AUC[:, 0], AUC[:, 1]) < 0.05


def test_the_peer_agrees_on_nemenyi() -> None:
    posthocs = pytest.importorskip("scikit_posthocs")
    found = significance.friedman(AUC)
    peer = posthocs.posthoc_nemenyi_friedman(AUC).to_numpy()
    assert found.p_nemenyi == pytest.approx(peer, abs=1e-6)


@pytest.mark.slow
def test_the_peer_agrees_on_holm() -> None:
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    p = Generator(PCG64(0)).random(12) ** 3
    assert significance.holm(p) == pytest.approx(multitest.multipletests(p, method="holm")[1])


def test_holm_of_a_worked_example() -> None:
    """0.01, 0.04, 0.03 in order: 3 * 0.01, 2 * 0.03, then no less than the one before."""
    assert significance.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])


def test_a_data_set_with_a_missing_score_is_counted_and_left_out() -> None:
    scores = AUC.copy()
    scores[3, 2] = np.nan
    found = significance.friedman(scores)
    assert (found.n_data_sets, found.n_left_out) == (13, 1)
    assert found.ranks == pytest.approx(significance.friedman(np.delete(AUC, 3, 0)).ranks)


def test_too_few_data_sets_are_refused() -> None:
    with pytest.raises(ValueError, match="1 complete data sets of 4 methods"):
        significance.friedman(AUC[:1])


def test_equal_methods_are_one_group() -> None:
    found = significance.friedman(np.ones((5, 3)))
    assert found.ranks.tolist() == [2, 2, 2]
    assert found.p_chi_square == 1
    assert found.groups() == [(0, 1, 2)]


@pytest.mark.exhaustive
def test_one_difference_is_told_apart_rarely_by_chance() -> None:
    """400 worlds of 15 data sets without a difference: Nemenyi finds one in about 5 %."""
    worlds = Generator(PCG64(1)).normal(size=(400, 15, 4))
    found = [significance.friedman(world) for world in worlds]
    share = np.mean([(one.p_nemenyi < 0.05).any() for one in found])
    assert 0.02 <= share <= 0.08


def test_bayes_is_sure_of_what_is_plain() -> None:
    base = Generator(PCG64(2)).normal(size=30)
    better = significance.signed_rank(base + 1, base, 0.1)
    assert better.better > 0.99
    assert significance.signed_rank(base, base + 1, 0.1).worse > 0.99
    assert significance.signed_rank(base + 0.002, base, 0.1).equivalent > 0.99
    assert sum(vars(better).values()) == pytest.approx(1)


def test_bayes_of_two_differences_by_hand() -> None:
    """One difference of weight w and the pseudo-difference of weight v = 1 - w, w ~ Beta(1, 1/2).

    Above the region lies the pair (d, d) and, as d / 2 is outside, (d, 0): 1 - v^2 against v^2. It
    has most where v < s = sqrt(1/2), which has probability sqrt(s) under Beta(1/2, 1).
    """
    found = significance.signed_rank(np.array([1.0]), np.array([0.0]), 0.1, n_draws=200_000)
    assert found.better == pytest.approx(0.5**0.25, abs=0.005)
    assert found.worse == 0


def test_the_peer_agrees_on_bayes() -> None:
    baycomp = pytest.importorskip("baycomp")
    found = significance.signed_rank(AUC[:, 1], AUC[:, 0], 0.01)
    peer = baycomp.SignedRankTest.probs(AUC[:, 0], AUC[:, 1], rope=0.01)
    assert [found.worse, found.equivalent, found.better] == pytest.approx(list(peer), abs=0.03)


@pytest.mark.exhaustive
def test_unscored_pairs_are_left_out() -> None:
    holed = AUC.copy()
    holed[2, 0] = np.nan
    kept = np.delete(AUC, 2, 0)
    assert significance.wilcoxon(holed[:, 0], holed[:, 1]) == significance.wilcoxon(
        kept[:, 0], kept[:, 1]
    )
    both = [significance.signed_rank(a[:, 0], a[:, 1], 0.01, n_draws=50) for a in (holed, kept)]
    assert both[0] == both[1]
