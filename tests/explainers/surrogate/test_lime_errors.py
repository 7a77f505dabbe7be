"""The errors that LIME states: how far its coefficients are from those of large budgets."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tests.explainers.removal.test_coverage import TASKS, ZERO, inside
from tests.support import toy_worlds
from xai_bench.core import cooperative_games
from xai_bench.core.seeds import Seeds
from xai_bench.explainers.removal.regression import Regression, regress_on_members
from xai_bench.explainers.surrogate.lime import LIME, centred, cosine_kernel
from xai_bench.explainers.surrogate.tabular_lime import TabularLIME


def few(name: str, n: int) -> toy_worlds.World:
    world = TASKS[name]()
    model = replace(world.model, max_rows=1 << 16)
    return toy_worlds.World(model, world.inputs.take(torch.arange(n)), world.targets[:n])


def limit(world: toy_worlds.World) -> Tensor:
    """`[B, U]`: least squares on all coalitions, each with its weight and its chance."""
    kept = cooperative_games.all_coalitions(world.inputs.x.shape[1])
    flat = world.inputs.stacked(kept * world.inputs.x[:, None])
    values = world.model.target_output(flat, world.targets.repeat_interleave(len(kept)))
    return LIME(ZERO, ridge=1e-9).solve(kept, values.view(len(world.targets), -1)).values


@pytest.mark.parametrize(
    "name", ["kinked", *(pytest.param(n, marks=pytest.mark.exhaustive) for n in TASKS)]
)
@pytest.mark.parametrize(("ridge", "smallest"), [(1.0, 20), (10.0, 64)])
def test_intervals_hold_the_limit_of_large_budgets(name: str, ridge: float, smallest: int) -> None:
    """A ridge of 1 takes a fifth of a coefficient at 64 coalitions: of the spread alone, 78 to 83 %
    are held.
    """
    world, budgets = few(name, 40), (smallest, 96, 256)
    exact = limit(world)
    found = [inside(LIME(ZERO, ridge=ridge), world, exact, budgets, seed) for seed in range(4)]
    for budget, held in zip(budgets, torch.stack(found).unbind(1), strict=True):
        stated = ~held.isnan()
        assert stated.double().mean() > 0.9
        assert held[stated].mean() >= 0.93, budget


def test_an_intercept_takes_a_degree_of_freedom() -> None:
    kept = torch.rand(12, 8, generator=torch.Generator().manual_seed(0)) < 0.5
    weight, values = torch.ones(12, dtype=torch.float64), torch.randn(3, 12, dtype=torch.float64)
    design, response = centred(kept, values, weight)
    fit = Regression(design, weight, centred=True).attributions(response)
    assert fit.degrees_of_freedom == pytest.approx(12 - 8 - 1)
    own = regress_on_members(kept.expand(3, -1, -1), values, weight.expand(3, -1), 0.0)
    torch.testing.assert_close(fit.values, own.values)
    torch.testing.assert_close(own.degrees_of_freedom, torch.full((3,), 3.0).double())


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", list(TASKS))
def test_intervals_of_quartiles_hold_theirs(name: str) -> None:
    world, budgets = few(name, 30), (24, 64, 256)
    rng = Seeds(99).stream("explain", samples=world.inputs.index)
    large = TabularLIME(budget=20_000, ridge=0.0)
    exact = large.explain(world.model, world.inputs, world.targets, rng=rng).attribution
    found = [inside(TabularLIME(), world, exact, budgets, seed) for seed in range(4)]
    for budget, held in zip(budgets, torch.stack(found).unbind(1), strict=True):
        assert held[~held.isnan()].mean() >= 0.93, budget


@pytest.mark.parametrize("n_units", [5, 70])
def test_errors_are_the_spread_and_what_the_ridge_took(n_units: int) -> None:
    """Of a linear response nothing is left over: the error is that of the ridge alone."""
    kept = toy_worlds.normal(300, n_units, seed=1) < 0
    weight, slopes = cosine_kernel(kept, 0.25), toy_worlds.normal(2, n_units, seed=2)
    values = slopes @ kept.double().mT + 3
    share = (weight / weight.sum())[:, None]
    member = kept.double()
    centred = member - (share * member).sum(0)
    found = Regression(centred, weight, ridge=2.0).attributions(values - values @ share)
    assert found.errors is not None
    residual = (found.values - slopes) @ centred.mT
    spread = Regression(centred, weight, ridge=2.0)
    spread.lost = None
    noise = spread.attributions(values - values @ share).errors
    assert noise is not None
    assert residual.abs().max() > 1e-3
    expected = torch.hypot(noise, found.values - slopes)
    torch.testing.assert_close(found.errors, expected, rtol=1e-4, atol=1e-7)
    alike = regress_on_members(kept.expand(2, -1, -1), values, weight.expand(2, -1), 2.0)
    assert alike.errors is not None
    torch.testing.assert_close(alike.values, found.values, rtol=1e-6, atol=1e-9)


def test_without_a_design_for_every_unit_no_error_is_stated() -> None:
    """Two units that are always together cannot be told apart but by the ridge."""
    kept = toy_worlds.normal(40, 4, seed=3) < 0
    kept[:, 1] = kept[:, 0]
    values = toy_worlds.normal(1, 40, seed=4)
    assert LIME(ZERO).solve(kept, values).errors.isnan().all()  # type: ignore[union-attr]
    own = regress_on_members(kept[None], values, torch.ones(1, 40).double(), 1.0)
    assert own.errors is not None
    assert own.errors.isnan().all()
    assert torch.as_tensor(own.degrees_of_freedom).tolist() == [0]
