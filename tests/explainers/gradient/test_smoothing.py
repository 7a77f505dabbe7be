"""Means over random draws: what they estimate, how sure they are, and answers at any budget."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from tests.support import toy_worlds
from xai_bench.core import units
from xai_bench.core.baselines import Constant, Mean
from xai_bench.core.cost import Metered
from xai_bench.explainers.backprop.deeplift import DeepLIFT, DeepLiftShap
from xai_bench.explainers.gradient.methods import Gradient
from xai_bench.explainers.gradient.smoothing import (
    ExpectedGradients,
    SmoothGrad,
    SmoothGradSquared,
    VarGrad,
)
from xai_bench.types import Anytime, Explanation, Unsupported

SAMPLING = (SmoothGrad, SmoothGradSquared, VarGrad, ExpectedGradients, DeepLiftShap)
WEIGHT = [4.0, -3.0, 0.0]


def repeated(
    module: nn.Module, x: list[float], n: int, groups: list[int] | None = None
) -> toy_worlds.World:
    """One point, `n` times, each with random numbers of its own."""
    points = torch.tensor([x], dtype=torch.float64).expand(n, -1).contiguous()
    members = torch.arange(len(x)) if groups is None else torch.tensor(groups)
    found = toy_worlds.world(module, points, members, toy_worlds.normal(40, len(x), seed=3))
    return toy_worlds.World(replace(found.model, max_rows=4096), found.inputs, found.targets)


def answered(world: toy_worlds.World, explainer: Any) -> Explanation:
    answer: Explanation = explainer.explain(world.model, world.inputs, world.targets, rng=world.rng)
    return answer


@pytest.mark.slow
@pytest.mark.parametrize(
    "build", [*SAMPLING[:-1], pytest.param(DeepLiftShap, marks=pytest.mark.exhaustive)]
)
@pytest.mark.parametrize("where", ["tabular", "text"])
@pytest.mark.parametrize("max_rows", [3, pytest.param(64, marks=pytest.mark.exhaustive)])
def test_every_answer_on_the_way_is_that_of_its_budget_alone(
    build: Any, where: str, max_rows: int
) -> None:
    world = toy_worlds.WORLDS[where]()
    world = toy_worlds.World(replace(world.model, max_rows=max_rows), world.inputs, world.targets)
    budgets = [4, 7, 7, 16, 33]
    assert isinstance(build(), Anytime)
    metered = Metered(world.model)
    run = build().anytime(metered, world.inputs, world.targets, budgets, rng=world.rng)
    for budget in budgets:
        found = next(run)
        spent = metered.usage.rows_of(world.inputs.index)[0]
        assert (spent == build(budget).rows(5).forward).all()
        assert (spent <= budget).all()
        alone = answered(world, build(budget))
        assert torch.equal(found.attribution, alone.attribution)
        assert found.standard_error is not None
        assert alone.standard_error is not None
        assert torch.equal(found.standard_error.nan_to_num(-1), alone.standard_error.nan_to_num(-1))
        assert torch.equal(found.degrees_of_freedom, alone.degrees_of_freedom)
        assert torch.equal(world.explain(build(budget)), alone.attribution)
        assert not alone.standard_error[world.inputs.units < 0].any()
    assert next(run, None) is None


@pytest.mark.parametrize("build", SAMPLING)
def test_budgets_that_cannot_be_met(build: Any) -> None:
    world = toy_worlds.tabular()
    with pytest.raises(ValueError, match="ascend"):
        list(build().anytime(world.model, world.inputs, world.targets, [8, 4], rng=world.rng))
    with pytest.raises(Unsupported, match="too small"):
        world.explain(build(0))


def test_without_noise_they_are_what_the_gradient_says() -> None:
    world = toy_worlds.image()
    slope = world.explain(Gradient())
    assert torch.equal(world.explain(SmoothGrad(1, noise=0.0)), slope)
    assert torch.allclose(world.explain(SmoothGradSquared(8, noise=0.0)), slope**2)
    assert torch.equal(world.explain(VarGrad(8, noise=0.0)), torch.zeros_like(slope))


def test_of_a_linear_model() -> None:
    world, w = toy_worlds.linear(WEIGHT, toy_worlds.normal(3, 3)), torch.tensor(WEIGHT).double()
    for build, expected in ((SmoothGrad, w), (SmoothGradSquared, w**2), (VarGrad, 0 * w)):
        found = answered(world, build(16))
        assert torch.allclose(found.attribution, expected.expand(3, 3), atol=1e-12)
        assert found.standard_error is not None
        assert found.standard_error.abs().max() < 1e-12


def test_the_mean_square_is_at_least_the_square_of_the_mean() -> None:
    world = toy_worlds.image()
    square, mean = world.explain(SmoothGradSquared(32)), world.explain(SmoothGrad(32))
    assert (square >= mean**2 - 1e-12).all()
    # What is between them is the variance, whose unbiased estimate VarGrad is.
    assert torch.allclose(square - mean**2, world.explain(VarGrad(32)) * 31 / 32, atol=1e-12)


def test_squares_and_variances_by_hand() -> None:
    # The gradient of x^2 is 2x + 2 s z: second moment 4x^2 + 4s^2, variance 4s^2.
    world = repeated(toy_worlds.Function(lambda x: (x**2).sum(1)), [1.0, -2.0], 400)
    s = 0.5 * world.inputs.domain.scale
    square = world.explain(SmoothGradSquared(50, noise=0.5)).mean(0)
    assert torch.allclose(square, 4 * world.inputs.x[0] ** 2 + 4 * s**2, rtol=0.03)
    variance = answered(world, VarGrad(50, noise=0.5))
    assert torch.allclose(variance.attribution.mean(0), 4 * s**2, rtol=0.03)
    # Normal draws: the variance of a sample variance is 2 sigma^4 / (n - 1).
    assert variance.standard_error is not None
    expected = 2 * (4 * s**2) ** 2 / 49
    assert torch.allclose(variance.attribution.var(0), expected, rtol=0.2)
    assert torch.allclose(variance.standard_error.square().mean(0), expected, rtol=0.1)


def test_the_standard_error_by_hand() -> None:
    world = repeated(toy_worlds.Function(lambda x: (x**2).sum(1)), [1.0, -2.0], 400)
    error = answered(world, SmoothGrad(8, noise=0.5)).standard_error
    assert error is not None
    expected = 2 * 0.5 * world.inputs.domain.scale / 8**0.5
    assert torch.allclose(error.square().mean(0).sqrt(), expected, rtol=0.03)


def test_the_standard_error_is_that_of_the_units_credit() -> None:
    # Elements of (x0 - x1)^2 / 2 have slopes d and -d: noisy both, but together always 0.
    module = toy_worlds.Function(lambda x: (x[:, 0] - x[:, 1]) ** 2 / 2 + x[:, 2] ** 2)
    world = repeated(module, [1.0, -2.0, 1.0], 4, groups=[0, 0, 1])
    error = answered(world, SmoothGrad(25)).standard_error
    assert error is not None
    assert units.pool(error, world.inputs.units)[:, 0].max() < 1e-12
    assert (error[:, 2] > 0.01).all()


def test_one_draw_says_nothing_of_its_error() -> None:
    error = answered(toy_worlds.tabular(), SmoothGrad(1)).standard_error
    assert error is not None
    assert error.isnan().all()


def wavy(x: Tensor) -> Tensor:
    return torch.sin(2 * x[:, 0]) + x[:, 0] * x[:, 1] ** 2


def coverage(found: Explanation, truth: Tensor) -> float:
    """How often the 95 % interval around an attribution holds the truth `[*S]`."""
    assert found.standard_error is not None
    assert found.degrees_of_freedom is not None
    wide = torch.from_numpy(stats.t.ppf(0.975, found.degrees_of_freedom.numpy()))[:, None]
    inside = (found.attribution - truth).abs() <= wide * found.standard_error
    return inside.double().mean().item()


@pytest.mark.parametrize("n_draws", [5, 50])
def test_the_interval_of_smoothgrad_holds_its_mean_19_times_in_20(n_draws: int) -> None:
    # E cos(2(x + s z)) = cos(2x) exp(-2 s^2), and E (x1 + s z)^2 = x1^2 + s^2.
    world = repeated(toy_worlds.Function(wavy), [0.4, 1.0], 4000)
    s0, s1 = (0.3 * world.inputs.domain.scale).tolist()
    truth = torch.tensor(
        [2 * math.cos(0.8) * math.exp(-2 * s0**2) + 1 + s1**2, 2 * 0.4 * 1.0]
    ).double()
    found = answered(world, SmoothGrad(n_draws, noise=0.3))
    assert (found.degrees_of_freedom == n_draws - 1).all()  # type: ignore[union-attr]
    assert 0.93 < coverage(found, truth) < 0.97


def test_the_interval_of_smoothgrad_holds_the_mean_of_a_huge_sample() -> None:
    net = toy_worlds.tabular().model.module
    assert net is not None
    x = toy_worlds.tabular().inputs.x[0].tolist()
    huge = repeated(net, x, 400)
    truth = huge.explain(SmoothGrad(400)).mean(0)  # 160 000 draws
    inputs = replace(huge.inputs, index=torch.arange(1000, 2500))
    inputs = replace(
        inputs, x=huge.inputs.x[:1].repeat(1500, 1), units=huge.inputs.units[:1].expand(1500, -1)
    )
    fresh = toy_worlds.World(huge.model, inputs, huge.targets[:1].repeat(1500))
    assert 0.93 < coverage(answered(fresh, SmoothGrad(50)), truth) < 0.97


def test_the_interval_of_expected_gradients_holds_its_mean_19_times_in_20() -> None:
    # x0 x1 from a reference r: x0 gets (x0 - r0)(x1 + r1) / 2, averaged over the background.
    world = repeated(toy_worlds.Function(lambda x: x[:, 0] * x[:, 1]), [1.0, 2.0], 2000)
    r = world.inputs.domain.background
    x = world.inputs.x[0]
    truth = (x - r) * (x + r).flip(1) / 2
    found = answered(world, ExpectedGradients(64))
    assert 0.93 < coverage(found, truth.mean(0)) < 0.97


@pytest.mark.slow
def test_the_interval_of_deeplift_shap_holds_its_mean_19_times_in_20() -> None:
    net = toy_worlds.tabular().model.module
    assert net is not None
    world = repeated(net, toy_worlds.tabular().inputs.x[1].tolist(), 1500)
    one = world.take(torch.tensor([0]))
    each = [one.explain(DeepLIFT(Fixed(row))) for row in world.inputs.domain.background]
    truth = torch.cat(each).mean(0)
    assert 0.93 < coverage(answered(world, DeepLiftShap(100)), truth) < 0.97


class Fixed:
    """One reference for all."""

    def __init__(self, row: Tensor) -> None:
        self.row = row

    def references(self, inputs: Any, *, rng: Any) -> Tensor:
        return self.row.expand(len(inputs), 1, *self.row.shape)


def test_deeplift_shap_against_one_background_row_is_deeplift() -> None:
    world = toy_worlds.image()
    domain = replace(world.inputs.domain, background=torch.full((1, 3, 8, 8), 0.2).double())
    one = toy_worlds.World(world.model, replace(world.inputs, domain=domain), world.targets)
    found = answered(one, DeepLiftShap(8))
    assert torch.allclose(found.attribution, one.explain(DeepLIFT(Mean())), atol=1e-12)
    assert torch.allclose(found.attribution, one.explain(DeepLIFT(Constant(0.2))), atol=1e-12)


def test_deeplift_shap_agrees_with_captum() -> None:
    attr = pytest.importorskip("captum.attr")
    world = toy_worlds.tabular()
    background = world.inputs.domain.background
    drawn = background[world.rng.child("background").integers(len(background), 10)]
    ours = world.explain(DeepLiftShap(20))
    theirs = attr.DeepLiftShap(world.model.module)
    for x, target, rows, found in zip(world.inputs.x, world.targets, drawn, ours, strict=True):
        expected = theirs.attribute(x[None], rows, target=int(target))[0]
        assert torch.allclose(found, expected.detach(), atol=1e-9)
