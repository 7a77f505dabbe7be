"""Normalised removal curves: scores by hand, and bounds against all orders tried one by one."""

from __future__ import annotations

from itertools import permutations
from math import isnan
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.support import toy_worlds
from xai_bench.core import units
from xai_bench.core.baselines import Constant, Marginal
from xai_bench.core.cost import Metered
from xai_bench.metrics.fidelity import curves as metrics
from xai_bench.metrics.fidelity import deletion
from xai_bench.metrics.probes.removal.beam import BeamBounds, _best
from xai_bench.metrics.probes.removal.orders import OrderBounds
from xai_bench.metrics.truth.agreement import CosineToShapley
from xai_bench.types import Unsupported

WEIGHT = [4.0, 3.0, 2.0, 1.0]
ZERO = Constant(0.0)


def score(metric: Any, attribution: list[float], weight: list[float] = WEIGHT) -> float:
    world = toy_worlds.linear(weight, n=1)
    scores: Tensor = metric.score(world.case(torch.tensor([attribution]).double()))
    return scores.item()


@pytest.mark.parametrize(
    ("metric", "oracle", "negative"),
    [
        # drops are 0 4 7 9 10 best first, and 0 1 3 6 10 worst first, a quarter apart
        pytest.param(metrics.AOPC(ZERO), 6.25, 3.75, id="aopc"),
        # 30 % of four units are two
        pytest.param(metrics.RegionPerturbation(ZERO), 3.75, 1.25, id="region"),
        pytest.param(metrics.IROF(ZERO), 0.625, 0.375, id="irof"),
        pytest.param(metrics.Selectivity(ZERO), 3.75, 6.25, id="selectivity"),
        pytest.param(metrics.NormalisedAOPC(ZERO), 1, 0, id="naopc"),
        pytest.param(metrics.NormalisedAOPCBeam(ZERO), 1, 0, id="beam"),
    ],
)
def test_the_exact_map_and_its_negative(metric: Any, oracle: float, negative: float) -> None:
    assert score(metric, WEIGHT) == pytest.approx(oracle)
    assert score(metric, [-w for w in WEIGHT]) == pytest.approx(negative)


def test_normalised_aopc_between_its_bounds_by_hand() -> None:
    """3 4 2 1: the outputs left sum to 7 + 3 + 1; the best order leaves 10, the worst 20."""
    assert score(metrics.NormalisedAOPC(ZERO), [3, 4, 2, 1]) == pytest.approx(0.9)


def test_selectivity_removes_every_unit_and_deletion_its_grid() -> None:
    weight = [1.0] * 9 + [9.0] + [0.0] * 10  # the tenth of twenty removals does half of the work
    attribution = [float(20 - place) for place in range(20)]
    left = [18 - step for step in range(10)] + [0] * 11
    trapezoid = (sum(left) - left[0] / 2) / 20
    assert score(metrics.Selectivity(ZERO), attribution, weight) == pytest.approx(trapezoid)
    assert score(deletion.Deletion(ZERO), attribution, weight) != pytest.approx(trapezoid)


def test_a_mean_drop_does_not_depend_on_the_number_of_steps() -> None:
    for n_units in (10, 20, 40):
        weight = [2 * 36 / n_units] * n_units
        assert score(metrics.AOPC(ZERO), weight, weight) == pytest.approx(36)
        assert score(metrics.IROF(ZERO), weight, weight) == pytest.approx(1 / 2)


def test_a_ratio_to_an_output_near_zero_is_not_scored() -> None:
    assert isnan(score(metrics.IROF(ZERO), WEIGHT, [-w for w in WEIGHT]))
    assert not isnan(score(metrics.IROF(ZERO), WEIGHT, [4, -4.0 + 1e-3, 0, 0]))
    assert isnan(score(metrics.IROF(Constant(1000.0)), WEIGHT, WEIGHT))
    assert isnan(score(metrics.IROF(ZERO), [1.0, 0.0], [1.0, -1.0])), "0 at both ends"
    assert isnan(score(metrics.NormalisedAOPC(ZERO), WEIGHT, [1.0] * 4)), "all orders are equal"
    assert isnan(score(metrics.NormalisedAOPC(ZERO), [1.0], [1.0])), "there is one order only"


@pytest.mark.parametrize("where", ["tabular", "text"])
def test_exact_bounds_are_those_of_all_orders_tried_one_by_one(where: str) -> None:
    world = toy_worlds.WORLDS[where]()
    attribution = toy_worlds.normal(*world.inputs.x.shape, seed=4)
    attribution = torch.where(world.inputs.units < 0, 0, attribution)
    case = world.case(attribution)
    scores = metrics.NormalisedAOPC(Marginal(2)).score(case)
    references = Marginal(2).references(case.inputs, rng=case.rng.child("exact_shapley"))
    pooled = units.pool(attribution, case.inputs.units)
    for row in range(len(world.inputs)):
        part, target = case.inputs.take(torch.tensor([row])), case.targets[row : row + 1]
        n_units = int(units.count(part.units))
        values: dict[frozenset[int], float] = {}

        def left(order: tuple[int, ...], row: int = row, part: Any = part) -> float:
            total = 0.0
            for step in range(1, len(order)):
                gone = frozenset(order[:step])
                if gone not in values:  # noqa: B023
                    mask = sum((part.units == unit for unit in gone), torch.tensor(0)) > 0
                    points = [torch.where(mask, r[None], part.x) for r in references[row]]
                    outputs = [case.model.target_output(part.with_x(p), target) for p in points]  # noqa: B023
                    values[gone] = sum(o.item() for o in outputs) / len(outputs)  # noqa: B023
                total += values[gone]  # noqa: B023
            return total

        sums = [left(order) for order in permutations(range(n_units))]
        mine = left(tuple(pooled[row, :n_units].argsort(descending=True).tolist()))
        expected = (max(sums) - mine) / (max(sums) - min(sums))
        assert scores[row].item() == pytest.approx(expected)


@pytest.mark.slow
@pytest.mark.parametrize("where", ["tabular", "text", "series"])
def test_a_beam_as_wide_as_there_are_coalitions_is_exact(where: str) -> None:
    world = toy_worlds.WORLDS[where]()
    attribution = toy_worlds.normal(*world.inputs.x.shape, seed=4)
    case = world.case(torch.where(world.inputs.units < 0, 0, attribution))
    exact = metrics.NormalisedAOPC(ZERO).score(case)
    widest = metrics.NormalisedAOPCBeam(ZERO, width=70).score(case)  # of 8 units, 70 sets of 4
    torch.testing.assert_close(widest, exact)
    bounds, narrow = (case.measure(p) for p in (OrderBounds(ZERO), BeamBounds(ZERO, width=1)))
    assert (narrow.lowest >= bounds.lowest - 1e-12).all()
    assert (narrow.highest <= bounds.highest + 1e-12).all()


def test_orders_that_lead_to_one_coalition_take_one_place_in_the_beam() -> None:
    """0 1 and 1 0 remove the same: of the two the cheaper stays, and leaves room for another."""
    kept = torch.tensor([[[0, 0, 1], [0, 0, 1], [0, 1, 0]]]).bool()
    best, sums = _best(kept, torch.tensor([[2.0, 1.0, 3.0]]).double(), 2)
    assert sums.tolist() == [[1, 3]]
    assert best.tolist() == [[[False, False, True], [False, True, False]]]


def test_normalised_aopc_of_any_map_lies_between_0_and_1() -> None:
    world = toy_worlds.series()
    for seed in range(10):
        case = world.case(toy_worlds.normal(*world.inputs.x.shape, seed=seed))
        scores = metrics.NormalisedAOPC(ZERO).score(case)
        assert (scores >= -1e-12).all()
        assert (scores <= 1 + 1e-12).all()


def test_rows_of_the_curve_metrics_are_those_of_the_closed_form() -> None:
    """Five units: one table for the exact Shapley values and all bounds; one pair of curves."""
    world = toy_worlds.tabular()
    metered = Metered(world.model)
    case = toy_worlds.World(metered, world.inputs, world.targets).case(  # type: ignore[arg-type]
        toy_worlds.normal(6, 7)
    )
    metrics.NormalisedAOPC(Marginal(2)).score(case)
    CosineToShapley(Marginal(2)).score(case)
    assert metered.usage.rows_of(world.inputs.index)[0].tolist() == [2**5 * 2] * 6
    for metric in (metrics.AOPC, metrics.RegionPerturbation, metrics.IROF, deletion.Deletion):
        metric(Marginal(2)).score(case)
    curves = 1 + 2 * (2 * 6 - 3)
    assert metered.usage.rows_of(world.inputs.index)[0].tolist() == [2**5 * 2 + curves] * 6


def test_too_many_units_are_unsupported() -> None:
    world = toy_worlds.series()
    case = world.case(toy_worlds.normal(*world.inputs.x.shape))
    for metric in (
        metrics.NormalisedAOPC(ZERO, max_units=7),
        metrics.NormalisedAOPCBeam(ZERO, max_units=7),
    ):
        with pytest.raises(Unsupported, match=r"8 units.*max_units=7"):
            metric.score(case)


def test_rows_of_a_beam_search_are_those_of_the_closed_form() -> None:
    """Five units: 5 single removals, then 2 ways with 4, 3 and 2 units left, for both bounds."""
    world = toy_worlds.tabular()
    metered = Metered(world.model)
    case = toy_worlds.World(metered, world.inputs, world.targets).case(  # type: ignore[arg-type]
        toy_worlds.normal(6, 7)
    )
    metrics.NormalisedAOPCBeam(Marginal(3), width=2).score(case)
    bounds, own = 2 * (5 + 2 * 4 + 2 * 3 + 2 * 2), 5
    assert metered.usage.rows_of(world.inputs.index)[0].tolist() == [3 * (bounds + own)] * 6
