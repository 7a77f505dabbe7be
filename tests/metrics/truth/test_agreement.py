"""Agreement with a written-down truth: scores by hand, and a reference implementation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import combinations, pairwise, permutations
from math import ceil, isnan, nan
from typing import Any

import pytest
import torch
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score
from torch import Tensor

from tests.support import toy_worlds
from xai_bench.core import units
from xai_bench.core.baselines import Constant
from xai_bench.metrics.truth import agreement, ranking
from xai_bench.types import Case, Unsupported

TRUTH = [4.0, -3.0, 2.0, 1.0, 0.0, 0.0, 0.0, 0.0]
RANKING = [
    ranking.PairwiseRankAgreement(),
    ranking.RankCorrelation(),
    ranking.RecallAtK(),
    ranking.AUROC(),
    ranking.AUPRC(),
    ranking.FirstHitRank(),
    ranking.MassOnIrrelevant(),
]


def score(metric: Any, attribution: list[float], reference: list[float] = TRUTH) -> float:
    world = toy_worlds.linear([1.0] * len(reference), n=1)
    rows = (torch.tensor([v]).double() for v in (attribution, reference))
    scores: Tensor = metric.score(world.case(next(rows), truth=next(rows)))
    return scores.item()


# By hand: four of eight units matter, in order of size; k is two


@pytest.mark.parametrize(
    ("attribution", "expected"),
    [
        # pairs: 4 * 4 between relevant and irrelevant, and 6 among the relevant: 22
        pytest.param(TRUTH, (1, 1, 0.5, 1, 1, 0, 0), id="truth"),
        pytest.param([-v for v in TRUTH], (1, 1, 0.5, 1, 1, 0, 0), id="negative"),
        pytest.param([3, 4, 2, 1, 0, 0, 0, 0], (21 / 22, None, 0.5, 1, 1, 0, 0), id="swapped"),
        pytest.param([0.0] * 8, (0.5, nan, 0.25, 0.5, None, 0.2, nan), id="zeros"),
        pytest.param([1.0] * 8, (0.5, nan, 0.25, 0.5, None, 0.2, 0.5), id="all alike"),
        pytest.param(
            [0, 0, 0, 0, 4, 3, 2, 1],
            # the relevant are tied below: 6 halves of 22; precisions 1/5, 2/6, 3/7, 4/8
            (3 / 22, None, 0, 0, (1 / 5 + 2 / 6 + 3 / 7 + 4 / 8) / 4, 1, 1),
            id="all wrong",
        ),
        pytest.param(
            [9, 0, 7, 6, 8, 5, 0, 0],
            # order 0 4 2 3 5, then 1 tied with two others in places 6 to 8
            (None, None, 0.25, (4 + 3 + 3 + 1) / 16,
             (1 + 2 / 3 + 3 / 4 + (4 / 6 + 4 / 7 + 4 / 8) / 3) / 4, 0, 13 / 35),
            id="mixed",
        ),
    ],
)  # fmt: skip
def test_rankings_by_hand(attribution: list[float], expected: tuple[float | None, ...]) -> None:
    for metric, value in zip(RANKING, expected, strict=True):
        if value is not None:
            assert score(metric, attribution) == pytest.approx(value, nan_ok=True), metric


@pytest.mark.parametrize(
    ("attribution", "expected"),
    [
        pytest.param(TRUTH, 1, id="truth"),
        pytest.param([-v for v in TRUTH], 0, id="negative"),
        pytest.param([4, 3, 2, 1, 0, 0, 0, 0], 0.5, id="a sign wrong"),
        pytest.param([3, -4, 2, 1, 0, 0, 0, 0], 0, id="swapped"),
        pytest.param([4, 1, 0, 0, 3, 2, 0, 0], 0.5, id="half"),
    ],
)
def test_signed_rank_agreement(attribution: list[float], expected: float) -> None:
    assert score(agreement.SignedRankAgreement(), attribution) == expected


def test_ties_in_the_truth_may_be_ordered_freely() -> None:
    """Only pairs of different truth are counted: 0 against each of 1, 2 and 3."""
    pra = ranking.PairwiseRankAgreement()
    for attribution in ([5, 1, 2, 3], [5, 3, 2, 1], [5, 1, 1, 1]):
        assert score(pra, attribution, [7, 0, 0, 0]) == 1
    assert score(pra, [2, 1, 2, 3], [7, 0, 0, 0]) == pytest.approx(1.5 / 3)


def test_a_truth_that_is_equal_for_all_units_is_not_scored() -> None:
    for reference in ([0.0] * 4, [1.0] * 4):
        for metric in RANKING:
            assert isnan(score(metric, [4, 3, 2, 1], reference)), metric
    assert isnan(score(ranking.RecallAtK(1.0), TRUTH)), "the top k are all units"


def test_without_a_truth_metrics_are_unsupported() -> None:
    world = toy_worlds.linear([1.0] * 4)
    for metric in (*RANKING, agreement.SignedRankAgreement()):
        with pytest.raises(Unsupported, match="no truth is written down"):
            metric.score(world.case(torch.ones(3, 4)))


def test_distance_to_shapley_values() -> None:
    """`f = w . x` at 1: the Shapley values are w, of size sqrt(30)."""
    weight = [4.0, 3.0, 2.0, 1.0]
    metric = agreement.ShapleyDistance(Constant(0.0))
    for attribution, expected in (
        (weight, 0.0),
        ([0.0] * 4, 1.0),
        ([-w for w in weight], 2.0),
        ([2 * w for w in weight], 1.0),
        ([4.0, 3.0, 2.0, 0.0], 1 / 30**0.5),
    ):
        case = toy_worlds.linear(weight, n=1).case(torch.tensor([attribution]).double())
        assert metric.score(case).item() == pytest.approx(expected, abs=1e-12)
    world = toy_worlds.linear(weight, x=toy_worlds.normal(4, 4))
    gradient = torch.tensor(weight).double().expand(4, 4)
    assert metric.score(world.case(gradient, "sensitivity")).max() < 1e-12
    constant = toy_worlds.linear([0.0] * 4, n=1)
    assert metric.score(constant.case(torch.ones(1, 4))).isnan().all()


# Reference implementation: one sample and one order of the ties after the other


def orders(sizes: list[float]) -> Iterator[tuple[int, ...]]:
    """All orders from the largest down, every arrangement of ties once."""
    places = range(len(sizes))
    for order in permutations(places):
        if all(sizes[a] >= sizes[b] for a, b in pairwise(order)):
            yield order


def average_precision(order: tuple[int, ...], relevant: list[bool]) -> float:
    marks = [relevant[unit] for unit in order]
    hits = [sum(marks[: place + 1]) / (place + 1) for place, mark in enumerate(marks) if mark]
    return sum(hits) / len(hits)


def recall(order: tuple[int, ...], relevant: list[bool]) -> float:
    k = ceil(Fraction(1, 4) * len(order))
    return sum(relevant[unit] for unit in order[:k]) / sum(relevant)


def first_hit(order: tuple[int, ...], relevant: list[bool]) -> float:
    first = min(place for place, unit in enumerate(order) if relevant[unit])
    return first / (len(order) - sum(relevant))


def concordant(sizes: list[float], true_sizes: list[float]) -> float:
    right: list[float] = []
    for i, j in combinations(range(len(sizes)), 2):
        if true_sizes[i] != true_sizes[j]:
            product = (sizes[i] - sizes[j]) * (true_sizes[i] - true_sizes[j])
            right.append(0.5 if product == 0 else float(product > 0))
    return sum(right) / len(right)


def mean_over_orders(one: Callable[[tuple[int, ...], list[bool]], float]) -> Any:
    def mean(sizes: list[float], true_sizes: list[float]) -> float:
        relevant = [size > 0 for size in true_sizes]
        values = [one(order, relevant) for order in orders(sizes)]
        return sum(values) / len(values)

    return mean


@pytest.mark.parametrize(
    ("metric", "definition"),
    [
        pytest.param(ranking.AUPRC(), mean_over_orders(average_precision), id="auprc"),
        pytest.param(ranking.RecallAtK(), mean_over_orders(recall), id="recall"),
        pytest.param(ranking.FirstHitRank(), mean_over_orders(first_hit), id="first hit"),
        pytest.param(ranking.PairwiseRankAgreement(), concordant, id="pairs"),
        pytest.param(
            ranking.AUROC(), lambda a, t: roc_auc_score([v > 0 for v in t], a), id="auroc"
        ),
        pytest.param(ranking.RankCorrelation(), lambda a, t: spearmanr(a, t)[0], id="spearman"),
    ],
)
def test_a_reference_implementation_agrees(metric: Any, definition: Any) -> None:
    case, attribution, reference = uneven()
    values = metric.score(case)
    for row, n_units in enumerate(units.count(case.inputs.units).tolist()):
        expected = definition(
            attribution[row, :n_units].tolist(), reference[row, :n_units].tolist()
        )
        assert values[row].item() == pytest.approx(expected, abs=1e-12), row


def uneven() -> tuple[Case, Tensor, Tensor]:
    """Texts of 3 to 6 tokens with many ties; magnitudes `[B, U]` of explanation and truth."""
    world = toy_worlds.text()
    shape = units.present(world.inputs.units).shape
    attribution = (toy_worlds.normal(*shape, seed=1) * 1.2).round().abs()
    reference = (toy_worlds.normal(*shape, seed=2) * 1.2).round().abs()
    reference[:, 0], reference[:, 1] = 2.0, 0.0  # some matter and some do not
    attribution[:, 2] = attribution[:, 1] + 1  # never all equal
    sign = 1.0 - 2 * (torch.arange(shape[1]) % 2)
    maps = [units.spread(values * sign, world.inputs.units) for values in (attribution, reference)]
    return world.case(maps[0], truth=maps[1]), attribution, reference


def test_agreement_does_not_depend_on_how_many_pairs_are_compared_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    case, _, _ = uneven()
    whole = ranking.PairwiseRankAgreement().score(case)
    monkeypatch.setattr(ranking, "PAIRS", 1)
    assert torch.equal(ranking.PairwiseRankAgreement().score(case), whole)
