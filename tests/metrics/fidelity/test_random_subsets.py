"""Metrics of random sets of removed units: scores by hand, and chance levels in expectation."""

from __future__ import annotations

from dataclasses import replace
from math import isnan
from typing import Any

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from torch import Tensor

from tests.support import toy_worlds
from xai_bench.core.baselines import Constant
from xai_bench.core.cost import Metered
from xai_bench.metrics.fidelity import random_subsets
from xai_bench.metrics.fidelity import random_subsets as metrics
from xai_bench.types import Kind

WEIGHT = [4.0, 3.0, 2.0, 1.0]
ZERO = Constant(0.0)


def score(
    metric: Any,
    attribution: list[float],
    weight: list[float] = WEIGHT,
    kind: Kind = "contribution",
) -> float:
    world = toy_worlds.linear(weight, n=1)
    scores: Tensor = metric.score(world.case(torch.tensor([attribution]).double(), kind))
    return scores.item()


@pytest.mark.parametrize("factor", [1.0, 3.0, -0.01])
def test_scaled_infidelity_ignores_a_factor(factor: float) -> None:
    attribution = [factor * w for w in WEIGHT]
    assert score(metrics.InfidelityScaled(ZERO), attribution) == pytest.approx(0, abs=1e-24)
    assert score(metrics.InfidelityScaled(ZERO), [0.0] * 4) == score(
        random_subsets.Infidelity(ZERO), [0.0] * 4
    )


@pytest.mark.slow
def test_scaled_infidelity_uses_the_best_factor() -> None:
    attribution = [1.0, 3.0, -2.0, 0.5]
    best = score(metrics.InfidelityScaled(ZERO), attribution)
    tried = [
        score(random_subsets.Infidelity(ZERO), [factor * a for a in attribution])
        for factor in torch.linspace(-3, 3, 601).tolist()
    ]
    assert best <= min(tried)
    assert best == pytest.approx(min(tried), rel=1e-3)


def test_scaled_infidelity_of_a_single_unit_by_hand() -> None:
    """One of two units is removed, with equal chance: of drops 3 and 1 the map 1 0 explains 3."""
    draws = 4000
    metric = metrics.InfidelityScaled(ZERO, n_draws=draws, fraction=0.5)
    assert score(metric, [1.0, 0.0], [3.0, 1.0]) == pytest.approx(1 / 2, rel=0.05)
    r2 = metrics.SurrogateR2(ZERO, n_draws=draws, fraction=0.5)
    # drops 3 and 1 have mean 2 and variance 1; the map misses by 0 and 1, or by 3 and 1
    assert score(r2, [3.0, 0.0], [3.0, 1.0]) == pytest.approx(1 - 1 / 2, rel=0.05)
    assert score(r2, [0.0, 0.0], [3.0, 1.0]) == pytest.approx(1 - 10 / 2, rel=0.05)


def test_r2_of_the_exact_map_and_of_a_constant_model() -> None:
    assert score(metrics.SurrogateR2(ZERO), WEIGHT) == pytest.approx(1)
    assert score(metrics.SurrogateR2(ZERO), WEIGHT, kind="sensitivity") == pytest.approx(1)
    assert isnan(score(metrics.SurrogateR2(ZERO), WEIGHT, [0.0] * 4))
    assert isnan(score(metrics.SurrogateR2(ZERO), WEIGHT, [2.0] * 4)), "every drop is the same"


def test_sensitivity_n_is_the_correlation_at_each_size_averaged() -> None:
    case = toy_worlds.series().case(toy_worlds.normal(5, 2, 12, seed=4))
    apart = [
        random_subsets.FaithfulnessCorrelation(ZERO, 100, fraction).score(case)
        for fraction in (0.2, 0.4, 0.6, 0.8)
    ]
    torch.testing.assert_close(metrics.SensitivityN(ZERO).score(case), torch.stack(apart).mean(0))


def test_sensitivity_n_of_the_exact_map_and_its_negative_at_every_size() -> None:
    for n_sizes in (1, 2, 4):
        metric = metrics.SensitivityN(ZERO, n_sizes=n_sizes)
        assert score(metric, WEIGHT) == pytest.approx(1)
        assert score(metric, [-w for w in WEIGHT]) == pytest.approx(-1)
        assert isnan(score(metric, [0.0] * 4))


def test_sets_of_all_units_are_left_out_of_sensitivity_n() -> None:
    """Of two units 2, 4, 6 and 8 tenths are 1, 1, 1 and 2."""
    assert score(metrics.SensitivityN(ZERO), [3.0, 1.0], [3.0, 1.0]) == pytest.approx(1)


def by_chance() -> tuple[float, float]:
    """Two of eight units of weight 1, ..., 8, and a map of independent standard normals.

    With `M` the second moments of the sets, a map `a` explains `(a M w)^2 / (a M a)` of the mean
    square drop `w M w`. `M` is 1/2 along the diagonal direction and 3/14 across it; there
    `w` has the squared lengths 8 * 4.5^2 and 42. The mean of `z^2 / (z M z)` is an integral.
    """

    def share(own: float, along: float, across: float) -> float:
        """Mean of z^2 / (z M z) with so many directions, z's own apart, of the two kinds."""
        return quad(
            lambda t: (
                (1 + 2 * own * t) ** -1.5
                * (1 + t) ** (-along / 2)
                * (1 + 3 / 7 * t) ** (-across / 2)
            ),
            0,
            np.inf,
        )[0]

    along, across = share(1 / 2, 0, 7), share(3 / 14, 1, 6)
    mean_square = 1 / 2 * 8 * 4.5**2 + 3 / 14 * 42
    explained = along / 4 * 8 * 4.5**2 + across * (3 / 14) ** 2 * 42
    return mean_square - explained, 1 - (mean_square + 2) / 9


def test_random_maps_score_at_chance() -> None:
    n, draws = 300, 1000
    world = toy_worlds.linear([float(w) for w in range(1, 9)], n=n)
    world = toy_worlds.World(replace(world.model, max_rows=1 << 16), world.inputs, world.targets)
    case = world.case(toy_worlds.normal(n, 8, seed=11))
    left, r2 = by_chance()
    for kind, expected in ((metrics.InfidelityScaled, left), (metrics.SurrogateR2, r2)):
        scores = kind(ZERO, draws, 0.25).score(case)
        assert scores.mean().item() == pytest.approx(expected, abs=4 * scores.std().item() / n**0.5)


def test_rows_of_random_sets_are_those_of_the_closed_form() -> None:
    world = toy_worlds.tabular()
    metered = Metered(world.model)
    case = toy_worlds.World(metered, world.inputs, world.targets).case(  # type: ignore[arg-type]
        toy_worlds.normal(6, 7)
    )
    for kind in (metrics.InfidelityScaled, metrics.SurrogateR2, random_subsets.Infidelity):
        kind(ZERO).score(case)
    assert metered.usage.rows_of(world.inputs.index)[0].tolist() == [101] * 6
    metrics.SensitivityN(ZERO).score(case)
    assert metered.usage.rows_of(world.inputs.index)[0].tolist() == [4 * 101] * 6
