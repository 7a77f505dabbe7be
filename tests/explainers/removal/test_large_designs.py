"""Regressions on many units by Cholesky are those by eigenvalues; designs fit into memory."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.support import toy_worlds
from xai_bench.core.baselines import Constant
from xai_bench.core.seeds import Seeds
from xai_bench.explainers.removal import regression
from xai_bench.explainers.removal.occlusion import LeaveOneOut
from xai_bench.explainers.removal.regression import Regression
from xai_bench.explainers.removal.shapley import KernelSHAP
from xai_bench.types import Unsupported

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
