"""Metrics of single removals: numbers by hand, and SciPy's correlations sample by sample."""

from __future__ import annotations

from math import isnan, sqrt
from typing import Any

import pytest
import torch
from scipy import stats
from torch import Tensor

from tests.support import toy_worlds
from xai_bench.core import units
from xai_bench.core.baselines import Constant, Marginal
from xai_bench.core.cost import Metered
from xai_bench.metrics.correlation import rounding
from xai_bench.metrics.fidelity import single_units as metrics
from xai_bench.metrics.probes.removal.single_units import SingleDrops
from xai_bench.types import Case, Unsupported

WEIGHT = [4.0, 3.0, 2.0, 1.0]
ZERO = Constant(0.0)
CORRELATIONS = [
    metrics.FaithfulnessEstimate(ZERO),
    metrics.TauLOO(ZERO),
    metrics.MonotonicityCorrelation(ZERO),
]


def score(metric: Any, attribution: list[float], weight: list[float] = WEIGHT) -> float:
    world = toy_worlds.linear(weight, n=1)
    scores: Tensor = metric.score(world.case(torch.tensor([attribution]).double()))
    return scores.item()


@pytest.mark.parametrize(
    ("metric", "attribution", "expected"),
    [
        (metrics.FaithfulnessEstimate(ZERO), [-4, -3, -2, -1], -1),
        (metrics.FaithfulnessEstimate(ZERO), [3, 4, 2, 1], 0.8),  # 1 - (1 + 1) / 2 / 5
        (metrics.TauLOO(ZERO), [-4, -3, -2, -1], -1),
        (metrics.TauLOO(ZERO), [3, 4, 2, 1], 4 / 6),  # one of six pairs is turned round
        (metrics.TauLOO(ZERO), [1, 1, 0, 0], 4 / sqrt(4 * 6)),  # two pairs are tied
        (metrics.MonotonicityCorrelation(ZERO), [-4, 3, -2, 1], 1),
        (metrics.MonotonicityCorrelation(ZERO), [3, 4, 2, 1], 0.8),
        (metrics.MonotonicityCorrelation(ZERO), [1, -2, 3, -4], -1),
        # put back from the smallest: 1 2 3 4; 4 3 2 1; 1 2 4 3
        (metrics.Monotonicity(ZERO), [-4, 3, -2, 1], 1),
        (metrics.Monotonicity(ZERO), [1, 2, 3, 4], 0),
        (metrics.Monotonicity(ZERO), [3, 4, 2, 1], 2 / 3),
        (metrics.CompletenessGap(ZERO), [4, 3, 2, 1], 0),
        (metrics.CompletenessGap(ZERO), [8, 6, 4, 2], 1),
        (metrics.CompletenessGap(ZERO), [0, 0, 0, 0], 1),
        (metrics.CompletenessGap(ZERO), [-4, -3, -2, -1], 2),
        (metrics.CompletenessGap(Constant(0.5)), [4, 3, 2, 1], 1),  # the drop is 5 only
    ],
)
def test_single_unit_metrics_by_hand(
    metric: Any, attribution: list[float], expected: float
) -> None:
    assert score(metric, attribution) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("metric", [*CORRELATIONS, metrics.Monotonicity(ZERO)], ids=str)
def test_the_exact_map_scores_1_and_a_constant_model_is_not_scored(metric: Any) -> None:
    assert score(metric, WEIGHT) == pytest.approx(1)
    assert isnan(score(metric, WEIGHT, weight=[0.0] * 4))


@pytest.mark.parametrize("metric", CORRELATIONS, ids=str)
@pytest.mark.parametrize("value", [0.0, 0.7])
def test_a_uniform_map_is_not_scored(metric: Any, value: float) -> None:
    assert isnan(score(metric, [value] * 4))


@pytest.mark.parametrize(
    ("attribution", "expected"),
    [
        ([4, -3, 0, 0], 0),
        ([4, 0, 3, 0], 2 / 4),  # one missed, one made up
        ([0, 0, 0, 0], 2 / 4),  # both missed
        ([1, 1, 1, 1], 2 / 4),  # both made up
        ([4, -3, 1e-6, 0], 0),  # next to nothing is nothing
        ([4, -3, 1e-3, 0], 1 / 4),
    ],
)
def test_non_sensitivity_by_hand(attribution: list[float], expected: float) -> None:
    metric = metrics.NonSensitivity(ZERO)
    assert score(metric, attribution, weight=[4, 3, 0, 0]) == expected


def test_non_sensitivity_ignores_signs_and_takes_a_unit_at_its_reference_for_irrelevant() -> None:
    assert score(metrics.NonSensitivity(Constant(1.0)), [4, 3, 2, 1]) == 1


def test_non_sensitivity_of_a_random_map_is_one_half() -> None:
    weight = torch.tensor([4.0, 3, 2, 1, 0, 0, 0, 0]).double()
    world = toy_worlds.linear(weight.tolist(), n=100)
    order = toy_worlds.normal(100, 8, seed=1).argsort(1)
    scores = [
        metrics.NonSensitivity(ZERO).score(world.case(weight[index])).mean()
        for index in (torch.arange(8).expand(100, 8), order)
    ]
    assert scores[0] == 0
    assert scores[1] == pytest.approx(1 / 2, abs=0.07)  # four of eight, each wrong half of the time


def test_groups_of_units_spread_their_change_evenly() -> None:
    """Seven equal units in five steps are put back as 1 1 2 1 2: every unit changes as much."""
    metric = metrics.Monotonicity(ZERO, max_steps=5)
    assert score(metric, [7, 6, 5, 4, 3, 2, 1], weight=[1.0] * 7) == 1
    assert isnan(score(metric, [1.0], weight=[2.0])), "one step has none before it"


def test_the_completeness_gap_needs_contributions_and_a_drop() -> None:
    world = toy_worlds.linear(WEIGHT)
    with pytest.raises(Unsupported, match="sensitivity"):
        metrics.CompletenessGap(ZERO).score(world.case(torch.ones(3, 4), "sensitivity"))
    assert isnan(score(metrics.CompletenessGap(Constant(1.0)), WEIGHT))


# Reference implementation: one sample and one unit after the other


def singles(case: Case, row: int) -> tuple[list[float], list[float], list[float]]:
    """Attribution, mean drop and mean squared drop of each unit of one sample."""
    part = case.inputs.take(torch.tensor([row]))
    targets = case.targets[row : row + 1]
    rng = case.rng.child("leave_one_out")
    references = Marginal(3).references(case.inputs, rng=rng)[row]
    at_x = case.model.target_output(part, targets).item()
    attribution, drop, squared = [], [], []
    for unit in range(int(units.count(part.units))):
        members = part.units == unit
        attribution.append(case.attribution[row][members[0]].sum().item())
        moved = [torch.where(members, reference[None], part.x) for reference in references]
        drops = [at_x - case.model.target_output(part.with_x(x), targets).item() for x in moved]
        drop.append(sum(drops) / 3)
        squared.append(sum(d * d for d in drops) / 3)
    return attribution, drop, squared


@pytest.mark.parametrize("where", ["tabular", "text", "series"])
def test_scipy_agrees_sample_by_sample(where: str) -> None:
    world = toy_worlds.WORLDS[where]()
    coarse = (2 * toy_worlds.normal(*world.inputs.x.shape, seed=5)).round()  # with ties
    case = world.case(torch.where(world.inputs.units < 0, 0, coarse))
    pearson, tau, spearman = (
        kind(Marginal(3)).score(case)
        for kind in (
            metrics.FaithfulnessEstimate, metrics.TauLOO, metrics.MonotonicityCorrelation,
        )
    )  # fmt: skip
    for row in range(len(world.inputs)):
        a, drop, squared = singles(case, row)
        size = [abs(value) for value in a]
        assert pearson[row].item() == pytest.approx(stats.pearsonr(a, drop).statistic)
        assert tau[row].item() == pytest.approx(stats.kendalltau(a, drop).statistic)
        assert spearman[row].item() == pytest.approx(stats.spearmanr(size, squared).statistic)


def test_many_units_are_compared_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    case = toy_worlds.image().case(toy_worlds.normal(5, 3, 8, 8, seed=3))
    whole = metrics.TauLOO(ZERO).score(case)
    monkeypatch.setattr("xai_bench.metrics.correlation._PAIRS", 1)
    assert torch.equal(metrics.TauLOO(ZERO).score(case), whole)


def test_rows_of_single_unit_metrics_are_those_of_the_closed_form() -> None:
    """All that read single removals share one measurement, for every explainer."""
    world = toy_worlds.tabular()  # five units
    metered = Metered(world.model)
    shared: dict[object, object] = {}
    for seed in (1, 2):
        case = toy_worlds.World(metered, world.inputs, world.targets).case(  # type: ignore[arg-type]
            toy_worlds.normal(6, 7, seed=seed), shared=shared
        )
        for kind in (
            metrics.FaithfulnessEstimate, metrics.TauLOO, metrics.MonotonicityCorrelation,
            metrics.NonSensitivity,
        ):  # fmt: skip
            kind(Marginal(3)).score(case)
    assert metered.usage.rows_of(world.inputs.index)[0].tolist() == [1 + 5 * 3] * 6
    metrics.Monotonicity(Marginal(3)).score(case)
    metrics.CompletenessGap(Marginal(3)).score(case)
    extra = (1 + 5 * 3) + (1 + 3)
    assert metered.usage.rows_of(world.inputs.index)[0].tolist() == [1 + 5 * 3 + extra] * 6


def test_rounding_is_relative_to_the_largest_drop_or_to_the_output() -> None:
    case = toy_worlds.linear(WEIGHT, n=2).case(torch.ones(2, 4))
    drop = torch.tensor([[-4.0, 1.0], [-4.0, 1.0]]).double()
    singles = SingleDrops(drop, drop.square(), torch.tensor([2.0, -8.0]).double())
    found = metrics._floor(case, singles)
    assert found.tolist() == [4 * rounding(case), 8 * rounding(case)]
