"""Distances to data and discriminators: by hand, on the removal curve's own points, and slowly."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tests.support import toy_worlds
from xai_bench.core import coalitions, units
from xai_bench.core.baselines import Constant, Marginal, Mean
from xai_bench.core.imputers import ConditionalGaussian
from xai_bench.data.synthetic.gaussian import GaussianDistribution
from xai_bench.metrics.distribution import OodDiscriminator, OodKnnRatio
from xai_bench.metrics.probes.removal.curves import RemovalCurves
from xai_bench.metrics.probes.removal.data_distance import (
    CurveDistances,
    DataDistances,
    kept_on_curve,
)
from xai_bench.types import Baseline, Case, Unsupported


def placed(background: Tensor, x: Tensor, scale: Tensor) -> toy_worlds.World:
    world = toy_worlds.linear([1.0] * x.shape[1], x=x)
    domain = replace(world.inputs.domain, background=background, scale=scale)
    model = replace(world.model, max_rows=4096)
    return toy_worlds.World(model, replace(world.inputs, domain=domain), world.targets)


def line(x: list[float], scale: float = 1.0) -> toy_worlds.World:
    """Eleven rows (0, 0), (2, 0), ..., (20, 0): neighbours are 2 apart."""
    background = torch.stack([2 * torch.arange(11.0), torch.zeros(11)], dim=1).double()
    return placed(background, torch.tensor([x]).double(), torch.tensor([scale, 1.0]).double())


@pytest.mark.parametrize(
    ("first", "k", "expected"),
    [
        (1, 1, 0.0),  # (6, 0) is a row of the data
        (1, 2, 2 / 2),  # and 2 away from the next
        (0, 1, 5 / 2),  # (0, 5) is 5 above the first row
        (0, 2, 29**0.5 / 2),  # and sqrt(2^2 + 5^2) from the second; usually 2, though 4 at the ends
        (0, 3, 41**0.5 / 4),
    ],
)
def test_ratio_worked_out_by_hand(first: int, k: int, expected: float) -> None:
    """The sample is (6, 5), the baseline 0; of two units one is removed at 10, 30 and 50 %."""
    world = line([6.0, 5.0])
    attribution = torch.tensor([[1.0, 0.0]]) if first == 0 else torch.tensor([[0.0, 1.0]])
    scores = OodKnnRatio(Constant(0.0), k).score(world.case(attribution.double()))
    assert scores.tolist() == pytest.approx([expected])


def test_distances_are_in_standard_deviations() -> None:
    world = line([6.0, 5.0], scale=4.0)
    case = world.case(torch.tensor([[1.0, 0.0]]).double())
    assert case.measure(DataDistances(1))[0].tolist() == [0.5] * 11
    assert case.measure(CurveDistances(Constant(0.0), 2))[0].tolist() == pytest.approx(
        [25.25**0.5] * 3
    )


def test_more_neighbours_than_rows_means_all_of_them() -> None:
    world = line([6.0, 0.0])
    case = world.case(torch.tensor([[1.0, 0.0]]).double())
    assert torch.equal(case.measure(DataDistances(10)), case.measure(DataDistances(99)))
    assert case.measure(DataDistances(99))[0, 0] == 20


def test_one_background_row_is_too_few() -> None:
    world = toy_worlds.gates()
    with pytest.raises(Unsupported, match="at least two"):
        OodKnnRatio(Mean()).score(world.case(world.inputs.x))


def test_equal_background_rows_leave_nothing_to_compare_with() -> None:
    world = placed(torch.zeros(5, 2).double(), torch.ones(1, 2).double(), torch.ones(2).double())
    assert OodKnnRatio(Mean()).score(world.case(world.inputs.x)).isnan().all()


@pytest.mark.parametrize("baseline", [Mean(), Marginal(3), ConditionalGaussian(3)])
def test_the_points_are_those_of_the_removal_curves(baseline: Baseline) -> None:
    """The model's mean output at them is the curve, to the last digit."""
    world = toy_worlds.tabular()
    case = world.case(world.inputs.x**3)
    curves = case.measure(RemovalCurves(baseline))
    for fraction in (0.1, 0.3, 0.5):
        points = coalitions.points(
            world.inputs,
            kept_on_curve(case, (fraction,)),
            baseline,
            rng=case.rng.child("removal_curves"),
        )[:, 0]
        outputs = coalitions.values_at(world.model, world.inputs, world.targets, points).mean(1)
        removed = (curves.n_units[:, None] * fraction).ceil().long()
        torch.testing.assert_close(outputs, curves.at(curves.most_first, removed)[:, 0])
        on_curve = case.measure(CurveDistances(baseline, 1, (fraction,)))
        rows = world.inputs.domain.background / world.inputs.domain.scale
        away = (points / world.inputs.domain.scale)[:, :, None] - rows
        torch.testing.assert_close(on_curve, away.square().sum(3).sqrt().amin(2))


def test_padding_adds_no_distance() -> None:
    """A text of three tokens has the same score whatever the background has beyond."""
    world = toy_worlds.text()
    case = world.case(world.inputs.x)
    shorter = units.count(world.inputs.units) == 3
    background = world.inputs.domain.background.clone()
    background[:, 3:] += 100 * torch.arange(16).double()[:, None, None]
    domain = replace(world.inputs.domain, background=background)
    moved: Case = replace(case, inputs=replace(world.inputs, domain=domain), shared={}, own={})
    metric = OodKnnRatio(Constant(0.1))
    assert torch.equal(metric.score(case)[shorter], metric.score(moved)[shorter])
    assert not torch.equal(metric.score(case)[~shorter], metric.score(moved)[~shorter])


def test_conditional_draws_stay_on_the_data_where_marginal_draws_leave_it() -> None:
    """Columns correlated by 0.95, and a first unit to remove of each pair."""
    root = torch.tensor([[1.0, 0.95], [0.0, (1 - 0.95**2) ** 0.5]]).double()
    background, x = (
        toy_worlds.normal(300, 2, seed=1) @ root,
        toy_worlds.normal(200, 2, seed=2) @ root,
    )
    world = placed(background, x, torch.ones(2).double())
    case = world.case(torch.tensor([1.0, 0.0]).double().expand(200, 2))
    marginal = OodKnnRatio(Marginal(4)).score(case).mean()
    conditional = OodKnnRatio(ConditionalGaussian(4)).score(case).mean()
    assert conditional < 2
    assert marginal > 2 * conditional


# The discriminator


def correlated(n: int, rho: float = 0.8) -> toy_worlds.World:
    """Four columns, neighbours correlated, the distribution known to the conditional draws."""
    lag = (torch.arange(4)[:, None] - torch.arange(4)).abs().double()
    distribution = GaussianDistribution(torch.zeros(4).double(), rho**lag)
    root = torch.linalg.cholesky(distribution.covariance)
    world = placed(
        toy_worlds.normal(64, 4, seed=1) @ root.T,
        toy_worlds.normal(n, 4, seed=2) @ root.T,
        torch.ones(4),
    )
    inputs = replace(world.inputs, domain=replace(world.inputs.domain, distribution=distribution))
    return toy_worlds.World(world.model, inputs, world.targets)


def test_draws_from_the_true_distribution_score_one_half() -> None:
    """At a random map; the rows are 64, so that their own luck is about 0.5 / 64 ** 0.5."""
    world = correlated(500)
    case = world.case(toy_worlds.normal(500, 4, seed=3))
    scores = OodDiscriminator(ConditionalGaussian(2)).score(case).mean().item()
    assert scores == pytest.approx(0.5, abs=0.06)


def test_marginal_draws_are_recognised_and_constants_more_so() -> None:
    world = correlated(300)
    case = world.case(toy_worlds.normal(300, 4, seed=3))
    marginal = OodDiscriminator(Marginal(2)).score(case).mean().item()
    constant = OodDiscriminator(Constant(0.0)).score(case).mean().item()
    assert 0.55 < marginal < constant
    assert constant > 0.85


def test_points_nearer_to_data_than_data_are_recognised_too() -> None:
    """The mean is close to many rows, so the distance ratio says 'like data'; this does not."""
    rows = toy_worlds.normal(64, 6, seed=4)
    world = placed(rows, toy_worlds.normal(100, 6, seed=5), torch.ones(6).double())
    case = world.case(toy_worlds.normal(100, 6, seed=6))
    assert OodKnnRatio(Mean()).score(case).mean() < 1
    assert OodDiscriminator(Mean()).score(case).mean() > 0.75


def test_discriminator_worked_out_by_hand() -> None:
    """Removing the top unit of two, to 10: fakes are (0, 10), ..., (3, 10), real rows (0, 0), ...

    Every real row is nearer to a real one of the other fold than to any fake, the point (6, 10) is
    not. With a baseline where the data are, points and fakes are data too: all is even.
    """
    background = torch.tensor([[0.0, 0.0], [1.0, 0.0], [2.0, 0.0], [3.0, 0.0]]).double()
    x = torch.tensor([[6.0, 0.0], [1.0, 0.0]]).double()
    world = placed(background, x, torch.ones(2).double())
    case = world.case(torch.tensor([0.0, 1.0]).double().expand(2, 2))
    assert OodDiscriminator(Constant(10.0), k=1).score(case).tolist() == [1.0, 1.0]
    assert OodDiscriminator(Constant(0.0), k=1).score(case).tolist() == [0.5, 0.5]


def test_a_reference_implementation_of_the_discriminator_agrees() -> None:
    """One sample, fold and fraction at a time."""
    world = toy_worlds.tabular()
    case = world.case(world.inputs.x**3)
    k, n_rows, half = 2, 12, 6
    batched = OodDiscriminator(Mean(), k, n_rows).score(case)
    scale, background = world.inputs.domain.scale, world.inputs.domain.background
    mean, labels = background.mean(0), world.inputs.units[0]

    def looks(point: Tensor, real: Tensor, fake: Tensor) -> float:
        near = [
            float(((rows - point) / scale).square().sum(1).sqrt().sort().values[k - 1])
            for rows in (real, fake)
        ]
        return near[1] / sum(near)

    for b in range(len(world.inputs)):
        shares = []
        for n_removed in (1, 2, 3):
            scores = [float((world.inputs.x[b] ** 3)[labels == u].sum()) for u in range(5)]
            top = sorted(range(5), key=lambda u, s=scores: -s[u])[:n_removed]  # type: ignore[misc]
            absent = torch.isin(labels, torch.tensor(top))
            point = torch.where(absent, mean, world.inputs.x[b])
            fakes = torch.where(absent, mean, background[:n_rows])
            for ours, others in (((0, half), (half, n_rows)), ((half, n_rows), (0, half))):
                train = background[slice(*ours)], fakes[slice(*ours)]
                mine = looks(point, *train)
                usual = [looks(row, *train) for row in background[slice(*others)]]
                shares.append(sum(u > mine for u in usual) / half)
        assert batched[b].item() == pytest.approx(sum(shares) / 6)


def test_the_discriminator_does_not_depend_on_max_rows() -> None:
    world = toy_worlds.tabular()
    case = world.case(world.inputs.x)
    small = replace(case, model=replace(world.model, max_rows=1), own={})
    metric = OodDiscriminator(Marginal(3))
    assert torch.equal(metric.score(case), metric.score(small))
