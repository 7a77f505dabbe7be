"""Surrogates and global importance, learnt from the background."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tests.explainers.gradient.test_methods import world_of
from tests.support import toy_worlds
from xai_bench.core.seeds import Seeds
from xai_bench.explainers.global_importance.permutation import PermutationImportance
from xai_bench.explainers.global_importance.surrogate import LinearSurrogate, TreeSurrogate
from xai_bench.types import Unsupported

torch.set_num_threads(1)
FIT = Seeds(0).stream("fit", samples=torch.zeros(1, dtype=torch.long))
WEIGHT = [3.0, 0.0, -1.0]


def wide(labels) -> toy_worlds.World:
    """A linear world with 4000 background rows of known variance, and labels of choice."""
    world = toy_worlds.linear(WEIGHT, toy_worlds.normal(2, 3))
    rows = toy_worlds.normal(4000, 3, seed=9) * torch.tensor([1.0, 1.0, 2.0]).double()
    truth = rows @ torch.tensor(WEIGHT).double()
    domain = replace(world.inputs.domain, background=rows, labels=labels(truth))
    return toy_worlds.World(world.model, replace(world.inputs, domain=domain), world.targets)


def test_permutation_importance_is_twice_the_variance_of_a_linear_term():
    # E (w (x - x'))^2 = 2 w^2 var(x), for a model that knows the labels.
    world = wide(lambda truth: truth)
    ready = PermutationImportance(n_repeats=4).fit(world.model, world.background(), rng=FIT)
    importance = world.explain(ready)
    assert torch.equal(importance[0], importance[1])
    expected = torch.tensor([2 * 9.0 * 1, 0, 2 * 1.0 * 4]).double()
    assert torch.allclose(importance[0], expected, rtol=0.1)
    assert importance[0, 1].item() == 0.0


def test_without_labels_it_is_the_size_of_the_change():
    # E |w (x - x')| = |w| * 2 sd / sqrt(pi).
    world = wide(lambda truth: None)
    ready = PermutationImportance(n_repeats=4).fit(world.model, world.background(), rng=FIT)
    expected = torch.tensor([3.0, 0, 2]).double() * 2 / torch.pi**0.5
    assert torch.allclose(world.explain(ready)[0], expected, rtol=0.1)


def test_a_unit_whose_loss_helps_nobody_counts_as_nothing():
    # A model that says the opposite of the labels gets better when it is shuffled.
    world = wide(lambda truth: -truth)
    ready = PermutationImportance().fit(world.model, world.background(), rng=FIT)
    assert not world.explain(ready).any()


def test_classes_are_scored_by_cross_entropy():
    world = toy_worlds.tabular()
    labels = world.model.outputs(world.background()).argmax(1)
    domain = replace(world.inputs.domain, labels=labels)
    background = replace(world.background(), domain=domain)
    found = PermutationImportance(n_repeats=2).fit(world.model, background, rng=FIT).fitted.values
    orders = [FIT.child("shuffle", k).uniform(5, 24)[0].argsort(1) for k in range(2)]
    loss = torch.nn.CrossEntropyLoss()
    for unit, columns in enumerate([[0], [1], [2], [3, 4, 5], [6]]):
        rises = []
        for order in orders:
            x = background.x.clone()
            x[:, columns] = x[order[unit]][:, columns]
            rises.append(loss(world.model.module(x), labels))
        rise = torch.stack(rises).mean() - loss(world.model.module(background.x), labels)
        assert found[columns].sum().item() == pytest.approx(max(rise.item(), 0.0), abs=1e-9)


def test_linear_surrogate_of_a_linear_model_is_the_model():
    world = toy_worlds.linear(WEIGHT, toy_worlds.normal(4, 3))
    ready = LinearSurrogate(ridge=1e-9).fit(world.model, world.background(), rng=FIT)
    centred = world.inputs.x - world.inputs.domain.background.mean(0)
    expected = torch.tensor(WEIGHT).double() * centred
    assert torch.allclose(world.explain(ready), expected, atol=1e-6)


def test_linear_surrogate_solves_the_ridge_equations():
    linear_model = pytest.importorskip("sklearn.linear_model")
    world, ridge = toy_worlds.tabular(), 0.1
    ready = LinearSurrogate(ridge).fit(world.model, world.background(), rng=FIT)
    domain = world.inputs.domain
    scaled = (domain.background - domain.background.mean(0)) / domain.scale
    answers = world.model.module(domain.background)
    theirs = linear_model.Ridge(alpha=ridge * len(scaled)).fit(scaled, answers)
    assert torch.allclose(ready.coefficients * domain.scale, torch.tensor(theirs.coef_), atol=1e-8)
    mixed = toy_worlds.World(world.model, world.inputs, torch.arange(len(world.inputs)) % 3)
    expected = ready.coefficients[mixed.targets] * (world.inputs.x - domain.background.mean(0))
    assert torch.equal(mixed.explain(ready), expected)


def test_linear_surrogate_with_more_pixels_than_rows_fits_every_row():
    world = toy_worlds.image()
    background = world.background()
    ready = LinearSurrogate(ridge=1e-9).fit(world.model, background, rng=FIT)
    centred = background.x - background.x.mean(0)
    found = torch.einsum("nijk,cijk->nc", centred, ready.coefficients)
    answers = world.model.module(background.x)
    assert torch.allclose(found, answers - answers.mean(0), atol=1e-5)


def test_tree_surrogate_of_a_step():
    world = world_of(lambda x: 4.0 * (x[:, 1] > 0), [[1.0, 2.0, 3.0], [1.0, -2.0, 3.0]])
    ready = TreeSurrogate().fit(world.model, world.background(), rng=FIT)
    share = (world.inputs.domain.background[:, 1] > 0).double().mean()
    up, down = (4 * (1 - share)).item(), (-4 * share).item()
    expected = torch.tensor([[0.0, up, 0], [0, down, 0]]).double()
    assert torch.allclose(world.explain(ready), expected, atol=1e-9)


@pytest.mark.parametrize("depth", [1, 4, 20])
def test_tree_surrogate_adds_up_to_its_answer(depth):
    tree = pytest.importorskip("sklearn.tree")
    world = toy_worlds.tabular()
    ready = TreeSurrogate(depth, min_samples_leaf=1).fit(world.model, world.background(), rng=FIT)
    rows = world.inputs.domain.background
    answers = world.model.module(rows)
    total = world.explain(ready).sum(1)
    for b, target in enumerate(world.targets.tolist()):
        seed = int(FIT.child("tree").integers(2**31 - 1)[0])
        theirs = tree.DecisionTreeRegressor(max_depth=depth, random_state=seed)
        theirs.fit(rows, answers[:, target])
        expected = theirs.predict(world.inputs.x[b : b + 1])[0] - answers[:, target].mean().item()
        assert total[b].item() == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("explainer", [PermutationImportance(), LinearSurrogate(), TreeSurrogate()])
def test_fit_comes_first_and_leaves_the_explainer_as_it_was(explainer):
    world = toy_worlds.tabular()
    ready = explainer.fit(world.model, world.background(), rng=FIT)
    assert world.explain(ready).shape == world.inputs.x.shape
    with pytest.raises(ValueError, match="call fit first"):
        world.explain(explainer)
    assert ready == explainer  # a fitted explainer is configured the same


@pytest.mark.parametrize("explainer", [PermutationImportance(), LinearSurrogate(), TreeSurrogate()])
def test_one_background_row_teaches_nothing(explainer):
    world = toy_worlds.gates()
    with pytest.raises(Unsupported, match="1 equal rows"):
        explainer.fit(world.model, world.background(), rng=FIT)


def test_importance_of_positions_is_no_importance_of_tokens():
    world = toy_worlds.text()
    ready = PermutationImportance().fit(world.model, world.background(), rng=FIT)
    with pytest.raises(Unsupported, match="same in every sample"):
        world.explain(ready)


def test_surrogates_refuse_targets_that_depend_on_the_label():
    world = toy_worlds.linear(WEIGHT)
    for explainer in (LinearSurrogate(), TreeSurrogate()):
        ready = explainer.fit(world.model, world.background(), rng=FIT)
        with pytest.raises(Unsupported, match="label"):
            ready.explain(world.model, world.inputs, world.targets.double(), rng=world.rng)
