"""Fidelity of surrogates: closed forms, and the numbers of scikit-learn."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.explainers.gradient.test_methods import world_of as function
from tests.support import toy_worlds
from tests.support.glassbox_worlds import classes, values, world_of
from xai_bench.core.baselines import Background
from xai_bench.core.seeds import Seeds
from xai_bench.explainers.global_importance.surrogate import LinearSurrogate, TreeSurrogate
from xai_bench.explainers.removal.shapley import ExactShapley
from xai_bench.metrics.surrogate import (
    GlobalLinearAccuracy,
    GlobalLinearR2,
    GlobalTreeAccuracy,
    GlobalTreeR2,
    OwnSurrogateR2,
)
from xai_bench.models.sklearn import Linear
from xai_bench.models.targets import PredictedProbability
from xai_bench.models.trees import Tree
from xai_bench.types import Unsupported

FIT = Seeds(0).stream("fit", samples=torch.zeros(1, dtype=torch.long))


def score(metric: Any, world: toy_worlds.World, attribution: Tensor | None = None) -> Tensor:
    scores: Tensor = metric.score(
        world.case(world.inputs.x if attribution is None else attribution)
    )
    return scores


def with_background(world: toy_worlds.World, rows: Tensor) -> toy_worlds.World:
    domain = replace(world.inputs.domain, background=rows)
    return toy_worlds.World(world.model, replace(world.inputs, domain=domain), world.targets)


def test_a_step_function_is_a_tree_and_not_linear() -> None:
    # f = [x0 > 0] on x0 = -3, -1, 1, 3. The line through 0, 0, 1, 1 (each row twice) has slope
    # cov / var = 1 / 5 and says 0.5 + x / 5; the variance of f is 1/4.
    rows = torch.tensor([-3.0, -1, 1, 3, -3, -1, 1, 3]).double()[:, None]
    world = function(lambda x: (x[:, 0] > 0).double(), [[2.0], [-0.5]])
    world = with_background(world, rows)
    assert score(GlobalTreeR2(depth=1), world).tolist() == [1.0, 1.0]
    line = score(GlobalLinearR2(), world)
    expected = [1 - (0.5 + 2 / 5 - 1) ** 2 * 4, 1 - (0.5 - 0.5 / 5 - 0) ** 2 * 4]
    assert line.tolist() == pytest.approx(expected, abs=1e-3)  # the ridge is 0.001


def test_a_linear_model_is_linear_and_no_shallow_tree() -> None:
    world = world_of(Linear(), values(), n=40)
    assert score(GlobalLinearR2(), world).mean() > 0.999
    r2 = [score(GlobalTreeR2(depth=d), world).mean().item() for d in (1, 2, 4)]
    assert r2[0] < r2[1] < 0.9


def test_a_tree_fitted_to_a_tree_is_exact() -> None:
    world = world_of(Tree(max_depth=2), classes(2), n=40)
    rows = toy_worlds.normal(2000, 6, seed=5) * 2
    world = with_background(world, rows)
    assert score(GlobalTreeAccuracy(depth=8), world).mean() > 0.97
    assert score(GlobalTreeAccuracy(depth=8), world).unique().tolist() in ([0.0, 1.0], [1.0])
    assert (
        score(GlobalTreeAccuracy(depth=1), world).mean()
        <= score(GlobalTreeAccuracy(depth=8), world).mean()
    )


@pytest.mark.parametrize("depth", [2, 8])
def test_accuracy_is_that_of_scikit_learn(depth: int) -> None:
    tree = pytest.importorskip("sklearn.tree")
    world = toy_worlds.tabular()
    rows = world.inputs.domain.background
    scale, mean = world.inputs.domain.scale, rows.mean(0)
    theirs = tree.DecisionTreeRegressor(max_depth=depth, min_samples_leaf=2, random_state=0)
    theirs.fit((rows - mean) / scale, world.model.module(rows))
    guess = theirs.predict((world.inputs.x - mean) / scale).argmax(1)
    expected = torch.tensor(guess) == world.model.outputs(world.inputs).argmax(1)
    assert torch.equal(score(GlobalTreeAccuracy(depth), world), expected.double())


def test_accuracy_of_a_constant_surrogate_is_the_share_of_its_class() -> None:
    # One class wins by a hair or by far, always: everybody agrees.
    class Sure(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.stack([x[:, 0], x[:, 0] + 1], 1)

    world = toy_worlds.world(
        Sure(), toy_worlds.normal(6, 2), torch.arange(2), toy_worlds.normal(30, 2, seed=1)
    )
    for metric in (GlobalTreeAccuracy(1), GlobalLinearAccuracy()):
        assert score(metric, world).tolist() == [1.0] * 6


@pytest.mark.parametrize("explainer", [LinearSurrogate(), TreeSurrogate()])
def test_the_own_surrogate_of_a_global_surrogate_has_its_r2(explainer: Any) -> None:
    world = toy_worlds.tabular()
    ready = explainer.fit(world.model, world.background(), rng=FIT)
    scores = score(OwnSurrogateR2(), world, world.explain(ready))
    rows = world.inputs.domain.background
    background = world.model.module(rows)[:, world.targets]
    own = world.model.target_output(world.inputs, world.targets)
    guess = background.mean(0) + world.explain(ready).sum(1)
    expected = 1 - (guess - own) ** 2 / background.var(0, correction=0)
    torch.testing.assert_close(scores, expected, rtol=1e-9, atol=1e-9)


def test_shapley_values_against_the_background_have_an_own_r2_of_1() -> None:
    world = toy_worlds.tabular()
    attribution = world.explain(ExactShapley(Background()))
    assert score(OwnSurrogateR2(), world, attribution).tolist() == pytest.approx([1.0] * 6)
    assert (score(OwnSurrogateR2(), world, -attribution) < 1).all()
    nothing = score(OwnSurrogateR2(), world, torch.zeros_like(attribution))
    background = world.model.module(world.inputs.domain.background)[:, world.targets]
    own = world.model.target_output(world.inputs, world.targets)
    expected = 1 - (background.mean(0) - own) ** 2 / background.var(0, correction=0)
    torch.testing.assert_close(nothing, expected)


def test_shapley_values_of_a_probability_have_an_own_r2_of_1() -> None:
    world = world_of(Linear(), classes(2), PredictedProbability(), n=20)
    attribution = world.explain(ExactShapley(Background()))
    scores = score(OwnSurrogateR2(), world, attribution)
    torch.testing.assert_close(scores, torch.ones(20).double())


def test_a_constant_output_is_not_scored() -> None:
    world = toy_worlds.linear([0.0, 0.0, 0.0])
    for metric in (GlobalTreeR2(), GlobalLinearR2(), OwnSurrogateR2()):
        assert score(metric, world).isnan().all()


def test_what_cannot_be_scored_is_unsupported_with_a_reason() -> None:
    regression, constant = toy_worlds.linear([1.0, 2.0]), toy_worlds.gates()
    floating = toy_worlds.World(regression.model, regression.inputs, regression.targets.double())
    for metric, world, words in (
        (GlobalTreeAccuracy(), regression, "predicts no class"),
        (GlobalLinearAccuracy(), regression, "predicts no class"),
        (GlobalTreeR2(), floating, "depends on the label"),
        (GlobalTreeR2(), constant, "rows that differ"),
    ):
        tried: Any = metric
        with pytest.raises(Unsupported, match=words):
            score(tried, world)
    case = replace(regression.case(regression.inputs.x), kind="relevance")
    with pytest.raises(Unsupported, match="'relevance' do not add up"):
        OwnSurrogateR2().score(case)
