"""Orders and winners: by hand, against brute force, planted dominance and planted ties."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from numpy.random import PCG64, Generator
from scipy.stats import rankdata

from xai_bench.results.statistics import ranks

NAN = np.nan
CONDORCET = np.array([[3.0, 2, 1], [3, 2, 1], [1, 3, 2], [2, 1, 3], [3, 1, 2]])


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return Generator(PCG64(seed)).normal(size=shape)


def against(scores: np.ndarray, order: tuple[int, ...]) -> float:
    """Pairs in fields that an order contradicts, the slow way."""
    wins = ranks.preferences(scores)
    return sum(wins[b, a] for i, a in enumerate(order) for b in order[i + 1 :])


def test_ranks_by_hand() -> None:
    found = ranks.field_ranks(np.array([[0.9, 0.5, 0.5, NAN], [NAN, NAN, 1.0, 2.0]]))
    assert found.tolist() == [[1, 2.5, 2.5, 4], [3.5, 3.5, 2, 1]]


def test_ranks_are_those_of_scipy() -> None:
    scores = np.round(normal(40, 7), 1)  # with ties
    assert np.array_equal(ranks.field_ranks(scores), rankdata(-scores, axis=1))


def test_what_is_unscored_is_last() -> None:
    assert ranks.mean_rank(np.array([[1.0, NAN], [-5.0, NAN]])).tolist() == [1, 2]


def test_borda_by_hand() -> None:
    """Beaten others: 2+2+0+1+2, 1+1+2+0+0 and 0+0+1+2+1."""
    assert ranks.borda(CONDORCET).tolist() == [7, 4, 4]


@pytest.mark.parametrize("seed", range(8))
def test_kemeny_is_the_best_of_all_orders(seed: int) -> None:
    scores = normal(5, 5, seed=seed).round(1)
    least = min(against(scores, order) for order in permutations(range(5)))
    assert against(scores, ranks.kemeny(scores)) == least


@pytest.mark.parametrize("seed", range(4))
def test_both_ways_to_kemeny_agree(seed: int) -> None:
    wins = ranks.preferences(scores := normal(7, 7, seed=seed))
    one, two = ranks._by_subsets(wins), ranks._by_integers(wins)
    assert against(scores, one) == against(scores, two)


def test_kemeny_of_many_methods_recovers_a_planted_order() -> None:
    scores = -np.arange(14.0) + 0.1 * normal(5, 14)
    assert ranks.kemeny(scores) == tuple(range(14))


def test_the_pareto_front_by_hand() -> None:
    scores = np.array([[3.0, 2, 1, 1, 3], [1.0, 2, 3, 2, 1]])
    assert ranks.pareto_front(scores) == (0, 1, 2, 4)
    assert ranks.pareto_front(np.array([[1.0, NAN], [0.0, 5.0]])) == (0, 1)
    assert ranks.pareto_front(np.array([[1.0, NAN], [0.0, 0.0]])) == (0,)


def test_skill_has_no_units() -> None:
    scores = np.array([[0.5, 0.9], [50.0, 90.0], [1.0, 1.0]])
    found = ranks.skill(scores, np.array([0.1, 10, 1]), np.array([0.9, 90, 1]))
    assert found[:2] == pytest.approx(np.array([[0.5, 1.0], [0.5, 1.0]]))
    assert np.isnan(found[2]).all()


def test_planted_dominance_cannot_be_broken() -> None:
    scores = normal(12, 4)
    scores[:, 2] = scores.max(1) + 1
    metrics, data = ["a", "b", "c"] * 4, ["x"] * 6 + ["y"] * 6
    found = ranks.robustness(scores, {"metric": metrics, "data": data})
    assert found.winners == (2,)
    assert found.unbeatable
    assert found.share.tolist() == [0, 0, 1, 0]
    assert (found.best_rank[2], found.worst_rank[2]) == (1, 1)


def test_a_planted_tie_is_reported_as_a_tie() -> None:
    scores = np.array([[1.0, 0, -1], [0, 1, -1]] * 3)
    found = ranks.robustness(scores, {"metric": ["a", "b"] * 3})
    assert found.winners == (0, 1)
    assert not found.unbeatable
    assert found.dethroned_by == ()
    assert found.worst_rank.tolist() == [2, 2, 3]


def test_the_smallest_change_that_dethrones() -> None:
    """Ahead by 2 + 1 + 1 and behind by 1 + 1: without field 0 even, without 0 and 1 behind.

    The other rival is never ahead.
    """
    scores = np.array([[3.0, 1, 2], [3, 2, 1], [3, 2, 1], [2, 3, 1], [2, 3, 1]])
    assert ranks.smallest_change(scores) == (0, 1)
    kept = np.delete(scores, [0, 1], 0)
    assert ranks.mean_rank(kept).argmin() == 1


def test_every_single_value_and_every_left_out_value_is_tried() -> None:
    found = ranks.robustness(normal(6, 3), {"metric": list("aabbcc"), "seed": list("010101")})
    tried = {(v.axis, v.setting) for v in found.variations}
    assert {("metric", "a"), ("metric", "without a"), ("seed", "0"), ("seed", "1")} <= tried
    assert ("aggregator", "Kemeny") in tried
    assert len(found.variations) == len(ranks.AGGREGATORS) + 6 + 2
