"""Local surrogates: closed forms, and the same surrogate fitted by scikit-learn."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tests.explainers.gradient.test_methods import world_of as function
from tests.support import toy_worlds
from xai_bench.core import units
from xai_bench.core.cost import Metered
from xai_bench.explainers.surrogate.local import (
    LocalLinearSurrogate,
    LocalTreeSurrogate,
    path_attribution,
)
from xai_bench.types import Unsupported

LINE, TREE = LocalLinearSurrogate(budget=64), LocalTreeSurrogate(budget=64)


def smooth() -> toy_worlds.World:
    """A small network on four columns that do not depend on each other."""
    net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))
    generator = torch.Generator().manual_seed(3)
    net = net.double()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return toy_worlds.world(
        net, toy_worlds.normal(5, 4, seed=1), torch.arange(4), toy_worlds.normal(40, 4, seed=2)
    )


@pytest.mark.parametrize("budget", [64, 11])
def test_of_a_linear_model_it_is_the_model(budget: int) -> None:
    """Of an odd budget, the last draw has no opposite; an intercept takes what is left over."""
    weight = torch.tensor([3.0, 0.0, -2.0]).double()
    world = toy_worlds.linear(weight.tolist(), toy_worlds.normal(4, 3))
    centred = world.inputs.x - world.inputs.domain.background.mean(0)
    attribution = world.explain(replace(LINE, ridge=0.0, budget=budget))
    torch.testing.assert_close(attribution, weight * centred, rtol=0, atol=1e-9)


@pytest.mark.parametrize("explainer", [LINE, TREE])
def test_one_run_gives_what_each_budget_gives_alone(explainer: Any) -> None:
    world, budgets = toy_worlds.tabular(), (20, 31, 31, 64)
    metered = Metered(world.model)
    found = explainer.anytime(metered, world.inputs, world.targets, budgets, rng=world.rng)
    for budget, answer in zip(budgets, found, strict=True):
        assert metered.usage.rows.forward == budget * len(world.inputs), "nothing is asked twice"
        alone = world.explain(replace(explainer, budget=budget))
        assert torch.equal(answer.attribution, alone)
    with pytest.raises(ValueError, match="ascend"):
        list(explainer.anytime(world.model, world.inputs, world.targets, (64, 32), rng=world.rng))


def test_the_slope_of_a_parabola_is_its_tangent() -> None:
    # Opposite draws: what is even in the step cancels, whatever the draws.
    world = function(
        lambda x: x[:, 0] ** 2 + x[:, 0] * x[:, 1] - x[:, 1], [[1.0, 2.0], [-3.0, 0.5]]
    )
    x = world.inputs.x
    gradient = torch.stack([2 * x[:, 0] + x[:, 1], x[:, 0] - 1], 1)
    found = world.explain(replace(LINE, ridge=0.0, width=2.0))
    expected = gradient * (x - world.inputs.domain.background.mean(0))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-8)


def test_a_narrow_neighbourhood_gives_the_gradient_and_a_wide_one_does_not() -> None:
    world = smooth()
    x = world.inputs.x.clone().requires_grad_()
    world.model.target_output(world.inputs.with_x(x), world.targets).sum().backward()
    expected = x.grad * (world.inputs.x - world.inputs.domain.background.mean(0))
    narrow = world.explain(replace(LINE, width=1e-4, ridge=0.0))
    torch.testing.assert_close(narrow, expected, rtol=1e-3, atol=1e-5)
    assert (world.explain(replace(LINE, width=2.0)) - expected).abs().max() > 0.1


def test_the_ridge_is_that_of_scikit_learn() -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    world, width, ridge = toy_worlds.tabular(), 0.5, 0.1
    found = world.explain(replace(LINE, ridge=ridge))
    noise = LINE.draw(world.inputs, 64, world.rng)
    scale = world.inputs.domain.scale
    for b, target in enumerate(world.targets.tolist()):
        answers = world.model.module(world.inputs.x[b] + width * scale * noise[b])[:, target]
        theirs = linear_model.Ridge(alpha=ridge * 64).fit(noise[b], answers)
        slope = torch.tensor(theirs.coef_) / (width * scale)
        expected = slope * (world.inputs.x[b] - world.inputs.domain.background.mean(0))
        torch.testing.assert_close(found[b], expected, rtol=0, atol=1e-9)


def saabas(tree: Any, x: np.ndarray) -> np.ndarray:
    """Changes of the mean on the way of one sample, node by node."""
    found, out = tree.tree_, np.zeros(len(x))
    path = tree.decision_path(x[None]).indices
    for parent, child in pairwise(path):
        out[found.feature[parent]] += found.value[child, 0, 0] - found.value[parent, 0, 0]
    return out


@pytest.mark.parametrize(("depth", "leaf"), [(1, 1), (2, 5), (4, 5), (6, 2)])
def test_the_tree_is_that_of_scikit_learn(depth: int, leaf: int) -> None:
    sklearn_tree = pytest.importorskip("sklearn.tree")
    world = smooth()
    draws = TREE.draw(world.inputs, 64, world.rng)
    found = world.explain(replace(TREE, max_depth=depth, min_samples_leaf=leaf))
    for b, target in enumerate(world.targets.tolist()):
        answers = world.model.module(draws[b])[:, target]
        tree = sklearn_tree.DecisionTreeRegressor(
            max_depth=depth, min_samples_leaf=leaf, random_state=0
        ).fit(draws[b], answers)
        expected = torch.tensor(saabas(tree, world.inputs.x[b].numpy()))
        torch.testing.assert_close(found[b], expected, rtol=0, atol=1e-9)
        total = tree.predict(world.inputs.x[b : b + 1])[0] - answers.mean().item()
        assert found[b].sum().item() == pytest.approx(total, abs=1e-9)


def test_a_step_by_hand() -> None:
    # Draws -2, -1, 1, 2 of one element beside a dull one; values 0, 0, 0, 8; x at 1.5: between 1
    # and 2 lies the first question (8 against 0: from the mean 2 to 8).
    draws = torch.tensor([[[-2.0, 5], [-1, 5], [1, 5], [2, 5]]]).double()
    values = torch.tensor([[0.0, 0, 0, 8]]).double()
    for x, expected in ((1.6, 6.0), (1.4, -2.0), (-9.0, -2.0)):
        at = torch.tensor([[x, 5.0]]).double()
        assert path_attribution(draws, values, at, 3, 1).tolist() == [[expected, 0.0]]
    # With two draws in each leaf, only the middle can be asked: means 0 and 4, from 2.
    assert path_attribution(draws, values, torch.tensor([[1.6, 5.0]]).double(), 3, 2)[0, 0] == 2.0


def test_a_model_that_ignores_x_credits_nobody() -> None:
    world = toy_worlds.linear([0.0, 0.0, 0.0])
    assert not world.explain(LINE).any()
    assert not world.explain(TREE).any()


def test_draws_mix_the_sample_with_whole_units_of_one_row() -> None:
    world = toy_worlds.tabular()
    draws = TREE.draw(world.inputs, 400, world.rng)
    assert (draws[..., 3:6].sum(2) == 1).all(), "a category stays one"
    own = (draws == world.inputs.x[:, None])[..., 0].double().mean()
    assert own.item() == pytest.approx(0.5, abs=0.05)


@pytest.mark.sample(3, others="slow")
@pytest.mark.parametrize("explainer", [LINE, TREE], ids=["line", "tree"])
@pytest.mark.parametrize("where", list(toy_worlds.WORLDS))
def test_blocks_and_company_change_no_bit(
    explainer: Any, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = toy_worlds.WORLDS[where]()
    whole = world.explain(explainer)
    monkeypatch.setattr("xai_bench.explainers.surrogate.local._CELLS", 100)
    assert torch.equal(world.explain(explainer), whole)
    assert torch.equal(world.take(torch.tensor([2, 0])).explain(explainer), whole[[2, 0]])
    assert not units.pool((whole != 0).double(), world.inputs.units)[
        ~units.present(world.inputs.units)
    ].any()


@pytest.mark.parametrize("explainer", [LINE, TREE], ids=["line", "tree"])
def test_one_draw_teaches_nothing(explainer: Any) -> None:
    with pytest.raises(Unsupported, match="a budget of 1 rows is too small"):
        toy_worlds.tabular().explain(replace(explainer, budget=1))
