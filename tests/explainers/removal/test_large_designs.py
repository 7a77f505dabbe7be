"""Regressions on many units by Cholesky are those by eigenvalues; designs fit into memory."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.support import toy_worlds
from xai_bench.core import coalitions
from xai_bench.core.baselines import Background, Constant
from xai_bench.core.coalitions import PermutedDesign
from xai_bench.core.seeds import Seeds
from xai_bench.explainers.removal import regression
from xai_bench.explainers.removal.occlusion import LeaveOneOut
from xai_bench.explainers.removal.regression import Regression
from xai_bench.explainers.removal.shapley import KernelSHAP
from xai_bench.types import Domain, Inputs, Unsupported

N_UNITS = 80


def by_eigenvalues(monkeypatch: pytest.MonkeyPatch, *args: Any, **named: Any) -> Regression:
    with monkeypatch.context() as patch:
        patch.setattr(regression, "_FEW_UNITS", 10_000)
        return Regression(*args, **named)


def design(n_rows: int, *, adds_up_to_0: bool = False) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(n_rows, N_UNITS, dtype=torch.float64, generator=generator)
    weight = torch.rand(n_rows, dtype=torch.float64, generator=generator) + 0.1
    return (rows - rows.mean(1, keepdim=True) if adds_up_to_0 else rows), weight


@pytest.mark.parametrize(
    ("n_rows", "settings", "adds_up_to_0"),
    [
        (200, {}, False),
        (200, {"ridge": 0.5}, False),
        (200, {"n_free": N_UNITS - 1}, True),
        (50, {"ridge": 0.5}, False),
        (50, {}, False),
    ],
)
def test_coefficients_and_errors_are_the_same(
    monkeypatch: pytest.MonkeyPatch, n_rows: int, settings: dict[str, Any], adds_up_to_0: bool
) -> None:
    rows, weight = design(n_rows, adds_up_to_0=adds_up_to_0)
    response = torch.randn(3, n_rows, dtype=torch.float64)
    found = Regression(rows, weight, **settings).attributions(response)
    expected = by_eigenvalues(monkeypatch, rows, weight, **settings).attributions(response)
    torch.testing.assert_close(found.values, expected.values, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(found.errors, expected.errors, rtol=1e-4, atol=0, equal_nan=True)
    assert found.degrees_of_freedom == pytest.approx(expected.degrees_of_freedom, rel=1e-4)


def test_a_direction_that_is_not_covered_gets_0() -> None:
    rows, weight = design(200)
    rows[:, 7] = 0
    found = Regression(rows, weight).attributions(torch.randn(2, 200, dtype=torch.float64))
    assert (found.values[:, 7].abs() < 1e-12).all()


@pytest.mark.parametrize("explainer", [KernelSHAP(Constant(0.0), 2 * N_UNITS)])
def test_a_linear_model_of_many_units_is_explained_exactly(explainer: KernelSHAP) -> None:
    weight = torch.linspace(-1, 1, N_UNITS)
    world = toy_worlds.linear(weight.tolist(), x=toy_worlds.normal(3, N_UNITS))
    rng = Seeds(0).stream("explain", samples=world.inputs.index)
    found = explainer.explain(world.model, world.inputs, world.targets, rng=rng).attribution
    torch.testing.assert_close(found, world.inputs.x * weight.to(found), rtol=1e-6, atol=1e-6)


def test_a_design_that_does_not_fit_into_memory_is_refused_before_it_is_built() -> None:
    n = 100_000  # no row is computed
    world = toy_worlds.linear([1.0] * n, x=torch.ones(1, n).double())
    rng = Seeds(0).stream("explain", samples=world.inputs.index)
    with pytest.raises(Unsupported, match=r"200,000 coalitions of 100,000 units do not fit"):
        KernelSHAP(Constant(0.0), 2 * n).explain(world.model, world.inputs, world.targets, rng=rng)


@pytest.mark.slow
def test_leave_one_out_of_many_units_builds_no_square() -> None:
    n = 9_000  # 81 million cells, of which a block is built at a time
    world = toy_worlds.linear([2.0] * n, x=torch.ones(1, n).double())
    assert not isinstance(LeaveOneOut(Constant(0.0)).coalitions(n), Tensor)
    rng = Seeds(0).stream("explain", samples=world.inputs.index)
    found = LeaveOneOut(Constant(0.0)).explain(world.model, world.inputs, world.targets, rng=rng)
    assert found.attribution.shape == (1, n)


@pytest.mark.parametrize("shape", [(6,), (1, 2, 3), (3, 2, 3), (2, 1, 3), (3, 1, 1)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("permuted", [False, True])
def test_units_that_span_channels_are_removed_as_any_others(
    shape: tuple[int, ...], dtype: torch.dtype, permuted: bool
) -> None:
    """A unit for each pixel is not looked up: the points are those of a map that is."""
    generator = torch.Generator().manual_seed(0)
    inner = shape[-2:] if len(shape) == 3 else shape
    n_units = math.prod(inner)
    pixels = torch.arange(n_units).view(inner).expand(4, *shape)
    x = torch.randn(4, *shape, generator=generator, dtype=dtype)
    design = torch.rand(5, n_units, generator=generator) < 0.5
    columns = torch.stack([torch.randperm(n_units, generator=generator) for _ in range(4)])
    kept = design[:, columns].transpose(0, 1)
    if permuted:  # in words of bits
        kept = PermutedDesign(design, columns)[:, :]  # type: ignore[misc]
    domain = Domain(x, torch.ones(shape, dtype=dtype))
    points = []
    for units in (pixels, pixels.clone()):
        inputs = Inputs(x=x, units=units, index=torch.arange(4), domain=domain)
        rng = Seeds(0).stream("explain", samples=inputs.index)
        points.append(coalitions.points(inputs, kept, Background(), rng=rng))
    assert torch.equal(*points)
    assert points[0].shape == (4, 5, 4, *shape)
    assert coalitions._own_shape(pixels) is not None
    assert coalitions._own_shape(pixels.clone()) is None


def test_units_in_another_order_are_looked_up() -> None:
    for pixels in (torch.arange(6).flip(0), torch.zeros(6, dtype=torch.long)):
        assert coalitions._own_shape(pixels.view(2, 3).expand(4, 3, 2, 3)) is None
