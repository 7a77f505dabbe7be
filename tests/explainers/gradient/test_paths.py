"""Blur and guided integrated gradients: complete, and as walked by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tests.support import toy_worlds
from xai_bench.core.baselines import Blur, Constant, Marginal
from xai_bench.explainers.gradient.integrated import IntegratedGradients
from xai_bench.explainers.gradient.paths import (
    BlurIntegratedGradients,
    GuidedIntegratedGradients,
    blurred,
)
from xai_bench.types import Unsupported


def grid(f: Callable[[Tensor], Tensor], shape: tuple[int, ...] = (2, 6, 6)) -> toy_worlds.World:
    units = torch.arange(torch.Size(shape).numel()).view(shape)
    return toy_worlds.world(
        toy_worlds.Function(f),
        toy_worlds.normal(3, *shape),
        units,
        toy_worlds.normal(8, *shape, seed=1),
    )


def smooth(x: Tensor) -> Tensor:
    """A polynomial with interactions."""
    flat = x.flatten(1)
    return (flat * flat.roll(1, 1)).sum(1) + (flat**3).sum(1) / 3 + flat.sum(1)


def table(f: Callable[[Tensor], Tensor], x: list[list[float]]) -> toy_worlds.World:
    points = torch.tensor(x).double()
    n = points.shape[1]
    return toy_worlds.world(
        toy_worlds.Function(f), points, torch.arange(n), toy_worlds.normal(8, n, seed=1)
    )


def outputs(world: toy_worlds.World, x: Tensor) -> Tensor:
    return world.model.target_output(world.inputs.with_x(x), world.targets).detach()


# Blur


@pytest.mark.sample(3, others="slow")
@pytest.mark.parametrize("shape", [(2, 6, 6), (2, 9), (1, 5, 8)])
@pytest.mark.parametrize("max_sigma", [0.17, 1.0])
def test_blur_is_complete_between_the_blurred_and_the_sharp_image(
    shape: tuple[int, ...], max_sigma: float
) -> None:
    world, explainer = grid(smooth, shape), BlurIntegratedGradients(100, max_sigma)
    widest = explainer.widest(world.inputs)
    assert widest == max_sigma * max(shape[1:])
    change = outputs(world, world.inputs.x) - outputs(
        world, blurred(world.inputs, widest, widest)[0]
    )
    assert torch.allclose(world.explain(explainer).flatten(1).sum(1), change, atol=1e-6)


def test_blur_of_a_linear_model_by_hand() -> None:
    # The slope is the weight all the way: weight times what the blur takes away.
    weight = toy_worlds.normal(2, 6, 6, seed=5)
    world = grid(lambda x: (x * weight).flatten(1).sum(1))
    explainer = BlurIntegratedGradients()
    widest = explainer.widest(world.inputs)
    away = world.inputs.x - blurred(world.inputs, widest, widest)[0]
    assert torch.allclose(world.explain(explainer), weight * away, atol=1e-7)


def test_a_blank_image_has_nothing_to_lose() -> None:
    world = grid(smooth)
    blank = world.inputs.with_x(torch.full_like(world.inputs.x, 0.7))
    found = toy_worlds.World(world.model, blank, world.targets).explain(BlurIntegratedGradients())
    assert found.abs().max() < 1e-10


@pytest.mark.parametrize("where", ["image", "series"])
def test_the_blur_is_that_of_the_baseline_and_its_slope_that_of_a_difference(where: str) -> None:
    world = toy_worlds.WORLDS[where]()
    found, slope = blurred(world.inputs, 0.9, 0.9)
    expected = Blur(0.9).references(world.inputs, rng=world.rng)[:, 0]
    assert torch.allclose(found, expected, atol=1e-12)
    step = 1e-5
    up, down = (blurred(world.inputs, 0.9 + h, 0.9)[0] for h in (step, -step))
    assert torch.allclose(slope, (up - down) / (2 * step), atol=1e-8)


def test_blur_needs_space_or_time() -> None:
    with pytest.raises(Unsupported, match=r"shape \[7\]"):
        toy_worlds.tabular().explain(BlurIntegratedGradients())
    with pytest.raises(ValueError, match="above 0"):
        toy_worlds.image().explain(BlurIntegratedGradients(max_sigma=0.0))


# Guided


def test_a_guided_path_by_hand() -> None:
    # x1 + x0 x1 from (0, 0) to (1, 1) in two steps: at the start the slopes are (0, 1), so x0 goes
    # first, for nothing; then x1 gets all of 2. The straight line gives (1/2, 3/2).
    world = table(lambda x: x[:, 1] + x[:, 0] * x[:, 1], [[1.0, 1.0]])
    guided = GuidedIntegratedGradients(Constant(0.0), budget=3, fraction=0.5, anchors=1)
    assert torch.allclose(world.explain(guided), torch.tensor([[0.0, 2.0]]).double())


def test_a_group_that_is_not_needed_whole_moves_in_part() -> None:
    # 10 x0^2 + x1 + 2 x2 from 0 to (1, 2, 1): one step of two is 2 long, so x0 with slope 0 goes
    # all the way and x1 goes half of it. Then the slopes are (20, 1, 2): x1 and x2 finish.
    world = table(lambda x: 10 * x[:, 0] ** 2 + x[:, 1] + 2 * x[:, 2], [[1.0, 2.0, 1.0]])
    guided = GuidedIntegratedGradients(Constant(0.0), budget=3, fraction=0.1, anchors=1)
    assert torch.allclose(world.explain(guided), torch.tensor([[10.0, 2.0, 2.0]]).double())
    place = torch.zeros(1, 3).double()
    slope, way = torch.tensor([[0.0, 1.0, 2.0]]).double(), torch.tensor([[1.0, 2.0, 1.0]]).double()
    moved = guided._moved(place, way, slope, 0.5)
    assert torch.allclose(moved, torch.tensor([[1.0, 0.5, 0.0]]).double())
    # In one group, all three move alike.
    together = replace(guided, fraction=1.0)._moved(place, way, slope, 0.5)
    assert torch.allclose(together, torch.full((1, 3), 0.5).double())


@pytest.mark.parametrize("anchors", [1, 3, 20])
def test_guided_paths_are_complete(anchors: int) -> None:
    # The trapezoid sum is exact for quadratic models, whatever the path.
    def quadratic(x: Tensor) -> Tensor:
        return (x * x.roll(1, 1)).sum(1) + x[:, 0] - x[:, 1] ** 2

    world = table(quadratic, toy_worlds.normal(6, 5).tolist())
    guided = GuidedIntegratedGradients(Marginal(2), budget=24, anchors=anchors)
    starts = Marginal(2).references(world.inputs, rng=world.rng).unbind(1)
    change = outputs(world, world.inputs.x) - sum(outputs(world, start) for start in starts) / 2
    assert torch.allclose(world.explain(guided).sum(1), change, atol=1e-10)


@pytest.mark.slow
def test_guided_paths_are_complete_in_the_limit() -> None:
    world, gaps = toy_worlds.text(), []
    change = outputs(world, world.inputs.x) - outputs(world, torch.zeros_like(world.inputs.x))
    for budget in (101, 401):
        found = world.explain(GuidedIntegratedGradients(Constant(0.0), budget))
        gaps.append((found.flatten(1).sum(1) - change).abs().max())
    # An error of the second order: four times the steps, a sixteenth of the gap.
    assert gaps[1] < 1e-5
    assert gaps[1] < gaps[0] / 12


@pytest.mark.parametrize(("fraction", "anchors"), [(1.0, 1), (0.1, 8)])
def test_straight_guided_paths_are_integrated_gradients(fraction: float, anchors: int) -> None:
    """All elements as one group, or an anchor at each step: the straight line."""
    world = toy_worlds.image()
    straight = IntegratedGradients(Constant(0.0), 9, "trapezoid")
    guided = GuidedIntegratedGradients(Constant(0.0), 9, fraction, anchors)
    assert torch.allclose(world.explain(guided), world.explain(straight), atol=1e-12)


def test_a_guided_path_needs_two_points() -> None:
    with pytest.raises(Unsupported, match="3 references; give at least 6"):
        toy_worlds.tabular().explain(GuidedIntegratedGradients(Marginal(3), budget=5))
