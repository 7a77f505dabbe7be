"""What stands in for the absent: closed forms, and promises that every baseline keeps."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import Tensor

from tests.support import paths, toy_worlds
from xai_bench.core import coalitions, units
from xai_bench.core.baselines import Quantile
from xai_bench.core.cooperative_games import all_coalitions
from xai_bench.core.imputers import ConditionalGaussian, ConditionalNeighbours, regression
from xai_bench.core.inpainting import NoisyLinear, harmonic
from xai_bench.core.seeds import Seeds
from xai_bench.data.synthetic.gaussian import CorrelatedGaussian, GaussianDistribution
from xai_bench.explainers.gradient.integrated import IntegratedGradients
from xai_bench.explainers.removal.shapley import ExactShapley
from xai_bench.metrics.fidelity.random_subsets import Infidelity
from xai_bench.metrics.probes.removal.exact import ExactShapley as ExactShapleyProbe
from xai_bench.types import Baseline, Imputer, Inputs, Unsupported

CONF = paths.CONF / "baseline"
NAMES = sorted(path.stem for path in CONF.glob("*.yaml"))
baselines = pytest.mark.parametrize("name", NAMES)
tabular, *others = toy_worlds.WORLDS
worlds = pytest.mark.parametrize(
    "where", [tabular, *(pytest.param(other, marks=pytest.mark.slow) for other in others)]
)


def baseline(name: str) -> Any:
    return instantiate(OmegaConf.load(CONF / f"{name}.yaml"))


def same(left: Tensor, right: Tensor) -> bool:
    """To the last bit."""
    return torch.equal(left.nan_to_num(nan=-7e77), right.nan_to_num(nan=-7e77))


def subsets(inputs: Inputs, n: int = 6) -> Tensor:
    """`[B, n, U]` bool: random sets of units, then none and all."""
    u = units.width(inputs.units)
    drawn = toy_worlds.normal(n - 2, u, seed=3) > 0
    ends = torch.tensor([[False], [True]]).expand(2, u)
    return torch.cat([drawn, ends]).expand(len(inputs), n, u)


def filled(made: Any, world: toy_worlds.World, kept: Tensor) -> Tensor:
    """`[B, K, R, *S]`; the test is skipped where the baseline declines."""
    try:
        if isinstance(made, Imputer):
            return made.impute(world.inputs, kept, rng=world.rng)
        return coalitions.remove(world.inputs, kept, made.references(world.inputs, rng=world.rng))
    except Unsupported as reason:
        pytest.skip(str(reason))


# Promises


@baselines
@worlds
def test_what_is_kept_stays_bit_for_bit_and_the_rest_is_finite(name: str, where: str) -> None:
    world = toy_worlds.WORLDS[where]()
    kept = subsets(world.inputs)
    points = filled(baseline(name), world, kept)
    stays = units.kept_elements(kept, world.inputs.units)[:, :, None].expand_as(points)
    assert torch.equal(points[stays], world.inputs.x[:, None, None].expand_as(points)[stays])
    assert points.isfinite().all()
    assert points.dtype == world.inputs.x.dtype


@pytest.mark.sample(2)
@baselines
@worlds
def test_a_sample_is_filled_alike_in_any_company_and_for_any_block(name: str, where: str) -> None:
    world, made = toy_worlds.WORLDS[where](), baseline(name)
    kept = subsets(world.inputs)
    whole = filled(made, world, kept)
    assert same(whole, filled(made, world, kept))
    for rows in ([2], [3, 0], [1, 1]):
        part = world.take(torch.tensor(rows))
        width = units.width(part.inputs.units)
        for columns in (slice(0, 6), slice(2, 4)):
            found = filled(made, part, kept[rows][:, columns, :width])
            assert same(found, whole[rows][:, columns])


@baselines
@worlds
def test_samples_have_draws_of_their_own(name: str, where: str) -> None:
    world = toy_worlds.WORLDS[where]()
    twins = world.inputs.take(torch.tensor([1, 1]))
    twins = replace(twins, index=torch.tensor([0, 1]))
    made = baseline(name)
    kept = torch.zeros(2, 1, units.width(twins.units), dtype=torch.bool)
    points = filled(made, toy_worlds.World(world.model, twins, world.targets[[1, 1]]), kept)
    if where == "gates":
        pytest.skip("one background row")
    drawn = name == "marginal" or name.startswith(("conditional", "noisy"))
    assert same(points[0], points[1]) == (not drawn)


@pytest.mark.parametrize("name", [n for n in NAMES if isinstance(baseline(n), Imputer)])
def test_an_imputer_has_no_references_and_says_so(name: str) -> None:
    world = toy_worlds.image()
    made: Baseline = baseline(name)
    with pytest.raises(Unsupported, match="depends on which units are kept"):
        world.explain(IntegratedGradients(made))


def test_a_sensitivity_has_no_unit_where_removal_depends_on_the_rest() -> None:
    world = toy_worlds.tabular()
    metric = Infidelity(ConditionalNeighbours(n_draws=2), n_draws=3)
    attribution = torch.ones_like(world.inputs.x)
    assert metric.score(world.case(attribution, "contribution")).isfinite().all()
    with pytest.raises(Unsupported, match="depends on what else is removed"):
        metric.score(world.case(attribution, "sensitivity"))


# Quantiles of the background


@pytest.mark.parametrize(
    ("level", "expected"),
    [(0.0, [1.0, -9.0]), (0.25, [1.75, -4.5]), (0.5, [2.5, 0.0]), (1.0, [40.0, 5.0])],
)
def test_a_quantile_is_that_of_each_column_never_of_the_sample(
    level: float, expected: list[float]
) -> None:
    """D07 took the minimum over the features of the sample."""
    background = torch.tensor([[2.0, 3.0], [40.0, -9.0], [1.0, 5.0], [3.0, -3.0]]).double()
    world = toy_worlds.linear([1.0, 1.0], x=torch.tensor([[-100.0, 100.0]]).double())
    inputs = replace(world.inputs, domain=replace(world.inputs.domain, background=background))
    found = Quantile(level).references(inputs, rng=world.rng)
    assert found.shape == (1, 1, 2)
    assert found.flatten().tolist() == pytest.approx(expected)


# Conditional draws, normal


def known(distribution: GaussianDistribution, x: Tensor) -> Inputs:
    inputs = toy_worlds.linear([1.0] * x.shape[1], x=x).inputs
    return replace(inputs, domain=replace(inputs.domain, distribution=distribution))


def distribution(n: int = 4) -> GaussianDistribution:
    root = toy_worlds.normal(n, n, seed=5)
    return GaussianDistribution(
        toy_worlds.normal(n, seed=6), root @ root.T + 0.1 * torch.eye(n).double()
    )


def rng(inputs: Inputs) -> Any:
    return Seeds(0).stream("test", samples=inputs.index)


@pytest.mark.slow
def test_normal_draws_have_the_conditional_mean_and_covariance() -> None:
    truth, x = distribution(), toy_worlds.normal(2, 4, seed=7)
    inputs, kept = known(truth, x), torch.tensor([True, False, False, True])
    made = ConditionalGaussian(n_draws=20_000)
    drawn = made.impute(inputs, kept.expand(2, 1, 4), rng=rng(inputs))[:, 0]
    torch.testing.assert_close(drawn.mean(1), truth.conditional_mean(kept, x))  # mirrored: exact
    _, covariance = truth.conditional(kept)
    for sample in drawn:
        torch.testing.assert_close(sample.T.cov(), covariance, atol=0.1, rtol=0.03)


def test_slopes_are_those_of_the_law_for_every_coalition() -> None:
    truth, kept = distribution(5), all_coalitions(5)
    found = regression(truth.covariance, kept[None])[0]
    for row, slopes in zip(kept, found, strict=True):
        expected = truth.conditional(row)[0] * ~row[:, None]
        torch.testing.assert_close(slopes, expected, atol=1e-9, rtol=1e-9)


def test_a_column_that_is_known_from_others_is_passed_over() -> None:
    """The third column is the sum of the first two; the fourth is constant."""
    root = torch.tensor([[1.0, 0.0], [0.3, 1.0], [1.3, 1.0], [0.0, 0.0]]).double()
    truth = GaussianDistribution(torch.zeros(4).double(), root @ root.T)
    x = torch.tensor([[1.0, 2.0, 3.0, 0.0]]).double()
    inputs = known(truth, x)
    for kept in ([True, True, False, False], [True, False, True, True], [True] * 4):
        points = ConditionalGaussian(2).impute(inputs, torch.tensor([[kept]]), rng=rng(inputs))
        torch.testing.assert_close(points, x.expand(1, 1, 2, 4), atol=1e-6, rtol=0)


@pytest.mark.parametrize("n_draws", [2, 8])
def test_conditional_shapley_values_are_those_written_down(n_draws: int) -> None:
    """By the explainer and by the probe, on data whose conditional game is known."""
    weights = (1.0, 0.0, -0.8, 0.0, 0.5)
    bundle = CorrelatedGaussian(weights, game="conditional", n_rows=100).load()
    world = toy_worlds.linear(list(weights), x=bundle.test.x[:6].double())
    inputs = replace(
        world.inputs, domain=replace(world.inputs.domain, distribution=bundle.distribution)
    )
    world = toy_worlds.World(world.model, inputs, world.targets)
    assert bundle.truth is not None
    truth = bundle.truth(inputs, world.targets)
    made = ConditionalGaussian(n_draws)
    torch.testing.assert_close(world.explain(ExactShapley(made)), truth, atol=1e-6, rtol=0)
    found = world.case(truth).measure(ExactShapleyProbe(made))
    torch.testing.assert_close(found.values, truth, atol=1e-6, rtol=0)
    assert found.difference_from_reference is None


def test_without_a_law_the_background_is_what_is_known() -> None:
    """Correlations shrunk, means and variances not."""
    inputs = toy_worlds.linear([1.0, 1.0]).inputs
    rows = toy_worlds.normal(400, 2, seed=8) @ torch.tensor([[2.0, 1.0], [0.0, 1.0]]).double() + 3
    inputs = replace(inputs, domain=replace(inputs.domain, background=rows))
    kept = torch.tensor([True, False]).expand(3, 1, 2)
    points = ConditionalGaussian(2, shrinkage=0.2).impute(inputs, kept, rng=rng(inputs))
    covariance = rows.T.cov(correction=0)
    slope = 0.8 * covariance[0, 1] / covariance[0, 0]
    expected = rows[:, 1].mean() + slope * (inputs.x[:, 0] - rows[:, 0].mean())
    torch.testing.assert_close(points[:, 0, :, 1].mean(1), expected)


def test_too_many_elements_are_declined() -> None:
    world = toy_worlds.image()
    with pytest.raises(Unsupported, match=r"192 elements.*max_elements=128"):
        ConditionalGaussian().impute(world.inputs, subsets(world.inputs), rng=world.rng)


# Conditional draws, nearest rows


def table(background: list[list[float]], x: list[list[float]]) -> Inputs:
    inputs = toy_worlds.linear([1.0] * len(x[0]), x=torch.tensor(x).double()).inputs
    rows = torch.tensor(background).double()
    scale = rows.std(0, correction=0)
    return replace(inputs, domain=replace(inputs.domain, background=rows, scale=scale))


def test_one_neighbour_is_the_nearest_row_in_standard_deviations() -> None:
    """By plain distance row 1 is nearer to (0, 0, .): but the second column varies much more."""
    inputs = table([[0.1, 300.0, 7.0], [2.0, 100.0, 8.0], [-4.0, -900.0, 9.0]], [[0.0, 0.0, 0.0]])
    kept = torch.tensor([[[True, True, False], [True, False, False], [False, True, False]]])
    points = ConditionalNeighbours(n_draws=3, k=1).impute(inputs, kept, rng=rng(inputs))
    assert points[0, :, :, 2].tolist() == [[7.0] * 3, [7.0] * 3, [8.0] * 3]
    assert points[0, 1, 0].tolist() == [0.0, 300.0, 7.0], "absent elements come from one row"


def test_neighbours_are_drawn_alike_and_ties_too() -> None:
    """Rows 0 and 1 are nearest; with nothing kept all four are, though `k` is two."""
    inputs = table([[1.0, 0.0], [1.0, 1.0], [5.0, 2.0], [9.0, 3.0]], [[1.0, 50.0]])
    inputs = replace(inputs.take(torch.zeros(2000).long()), index=torch.arange(2000))
    kept = torch.tensor([[True, False], [False, False]]).expand(2000, 2, 2)
    points = ConditionalNeighbours(n_draws=1, k=2).impute(inputs, kept, rng=rng(inputs))
    near, anyone = points[:, :, 0, 1].unbind(1)
    assert [int((near == value).sum()) for value in range(4)] == pytest.approx(
        [1000, 1000, 0, 0], abs=100
    )
    assert [int((anyone == value).sum()) for value in range(4)] == pytest.approx([500] * 4, abs=90)


# Linear imputation


def test_a_gap_in_a_series_is_bridged_by_a_straight_line() -> None:
    x = torch.tensor([[1.0, 0, 0, 4.0, 0, 8.0, 0, 0]]).double()
    kept = torch.tensor([[True, False, False, True, False, True, False, False]])
    assert harmonic(x, kept)[0].tolist() == pytest.approx([1, 2, 3, 4, 6, 8, 8, 8])


def test_one_absent_pixel_is_the_weighted_mean_of_its_neighbours() -> None:
    """Sides 1/6 and corners 1/12 inside; at a corner of the image 2/5, 2/5 and 1/5."""
    x = torch.arange(9.0).view(1, 3, 3).double() ** 2
    inside, corner = torch.ones(2, 1, 3, 3, dtype=torch.bool)
    inside[0, 1, 1] = corner[0, 0, 0] = False
    expected = (1 + 9 + 25 + 49) / 6 + (0 + 4 + 36 + 64) / 12
    assert harmonic(x, inside)[0, 1, 1].item() == pytest.approx(expected)
    assert harmonic(x, corner)[0, 0, 0].item() == pytest.approx((2 * 1 + 2 * 9 + 16) / 5)


@pytest.mark.parametrize("grid", [(7,), (5, 4), (3, 1), (1, 4), (2, 2), (9, 9)])
def test_linear_imputation_solves_the_dense_system(grid: tuple[int, ...]) -> None:
    """The same, one equation at a time and with a general solver."""
    x, kept = toy_worlds.normal(3, *grid, seed=1), toy_worlds.normal(3, *grid, seed=2) > 0.4
    kept.flatten(1)[:, 0] = True
    places = torch.ones(grid).nonzero()
    for sample, mask, found in zip(x, kept, harmonic(x, kept), strict=True):
        apart = (places[:, None] - places).abs()
        near = (apart.amax(2) == 1) * (3.0 - apart.sum(2)).double()
        share = near / near.sum(1, keepdim=True)
        stays = mask.flatten()[:, None]
        eye = torch.eye(len(places)).double()
        right = sample.flatten() * mask.flatten()
        expected = torch.linalg.solve(torch.where(stays, eye, eye - share), right)
        torch.testing.assert_close(found.flatten(), expected)


def test_noise_is_in_standard_deviations_and_on_the_absent_only() -> None:
    world = toy_worlds.image()
    scale = torch.full((3, 8, 8), 3.0).double()
    inputs = replace(world.inputs, domain=replace(world.inputs.domain, scale=scale))
    kept = subsets(inputs)
    clean, noisy = (
        NoisyLinear(noise, n_draws=50).impute(inputs, kept, rng=world.rng) for noise in (0, 0.2)
    )
    absent = ~units.kept_elements(kept, inputs.units)[:, :, None].expand_as(clean)
    assert (noisy - clean)[absent].std().item() == pytest.approx(0.6, rel=0.05)
    assert torch.equal(noisy[~absent], clean[~absent])
    assert torch.equal(clean[:, :, 0], clean[:, :, 1])


def test_where_nothing_is_kept_the_background_is_what_is_left() -> None:
    world = toy_worlds.series()
    kept = torch.tensor([[[False] * 4 + [True] * 4]]).expand(5, 1, 8)  # the first channel goes
    points = NoisyLinear(noise=0.0).impute(world.inputs, kept, rng=world.rng)
    mean = world.inputs.domain.background.mean(0)
    torch.testing.assert_close(points[:, 0, 0, 0], mean[0].expand(5, 12))
