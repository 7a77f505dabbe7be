"""Importance by partial dependence, single curves, local effects and SAGE: closed forms."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.explainers.gradient.test_methods import world_of as function
from tests.support import toy_worlds
from tests.support.glassbox_worlds import values, world_of
from xai_bench.core import units
from xai_bench.core.cost import Metered
from xai_bench.core.seeds import Seeds
from xai_bench.explainers.global_importance.feature_effects import (
    ALEImportance,
    ICEImportance,
    PDPImportance,
)
from xai_bench.explainers.global_importance.sage import SAGE
from xai_bench.models.sklearn import RandomForest
from xai_bench.types import Unsupported

FIT = Seeds(0).stream("fit", samples=torch.zeros(1, dtype=torch.long))
ALL: tuple[Any, ...] = (
    PDPImportance(n_grid=3, n_rows=8),
    ICEImportance(n_grid=3, n_rows=8),
    ALEImportance(n_bins=3),
    SAGE(n_orders=8, n_references=4),
)
each = pytest.mark.parametrize("explainer", ALL, ids=lambda e: type(e).__name__)


def on(rows: Tensor, world: toy_worlds.World, labels: Tensor | None = None) -> toy_worlds.World:
    """The world with another background."""
    domain = replace(world.inputs.domain, background=rows, labels=labels)
    model = replace(world.model, max_rows=1 << 14)
    return toy_worlds.World(model, replace(world.inputs, domain=domain), world.targets)


def importance(explainer: Any, world: toy_worlds.World, seed: int = 0) -> Tensor:
    """`[U]` of the first sample."""
    rng = Seeds(seed).stream("fit", samples=torch.zeros(1, dtype=torch.long))
    ready = explainer.fit(world.model, world.background(), rng=rng)
    return units.pool(world.explain(ready), world.inputs.units)[0]


def correlated(n: int = 200) -> Tensor:
    rows = toy_worlds.normal(n, 3, seed=3)
    rows[:, 1] = 0.9 * rows[:, 0] + 0.1 * rows[:, 1]
    return rows


def near(found: Tensor, expected: Tensor | list[float]) -> None:
    expected = torch.as_tensor(expected, dtype=torch.float64)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("explainer", [PDPImportance(7), ICEImportance(7)])
def test_of_a_linear_term_both_are_the_slope_times_the_spread_of_the_grid(explainer: Any) -> None:
    rows = correlated()
    grid = rows.sort(0).values[torch.linspace(0, 199, 7).round().long()]
    world = on(rows, toy_worlds.linear([3.0, 0.0, -2.0]))
    near(
        importance(explainer, world),
        [3 * grid[:, 0].std(correction=0), 0, 2 * grid[:, 2].std(correction=0)],
    )


def test_a_product_cancels_in_the_mean_and_not_in_the_single_curves() -> None:
    # f = x0 x1, x1 = +-1 equally often: the mean curve is flat, every single one has slope +-1.
    rows = torch.tensor([[a, b] for a in (-3.0, -1, 1, 3) for b in (-1.0, 1)]).double()
    world = on(rows, function(lambda x: x[:, 0] * x[:, 1], [[1.0, 1.0]]))
    grid = torch.tensor([-3.0, -1, 1, 3]).double()  # places 0, 2.33, 4.67, 7 of eight rows in order
    slope = rows[:, 0].abs().mean()  # of the curves of x1, on its grid -1, -1, 1, 1
    near(importance(PDPImportance(4, 8), world), [0.0, 0.0])
    near(importance(ICEImportance(4, 8), world), [grid.std(correction=0), slope])


def test_partial_dependence_is_that_of_scikit_learn() -> None:
    inspection = pytest.importorskip("sklearn.inspection")
    world = world_of(RandomForest(n_estimators=5, max_depth=5), values())
    rows, estimator = world.inputs.domain.background.numpy(), world.model.predictor.estimator
    found = importance(PDPImportance(n_grid=5, n_rows=20), world)
    places = torch.linspace(0, 19, 5).round().long().numpy()
    for column in range(6):
        grid = sorted(rows[:, column].tolist())
        grid = [grid[k] for k in places]
        theirs = inspection.partial_dependence(
            estimator, rows, [column], custom_values={column: grid}, method="brute"
        )
        assert found[column].item() == pytest.approx(theirs["average"][0].std(), abs=1e-9)


def test_local_effects_of_a_linear_model_are_the_slope_times_the_spread_of_the_data() -> None:
    rows = correlated()
    world = on(rows, toy_worlds.linear([3.0, 0.0, -2.0]))
    spread = rows.std(0, correction=0)
    for n_bins in (1, 7, 500):
        near(importance(ALEImportance(n_bins), world), [3 * spread[0], 0, 2 * spread[2]])


def test_local_effects_of_an_additive_model_are_its_terms_however_columns_hang_together() -> None:
    rows = correlated()
    world = on(rows, function(lambda x: x[:, 0] ** 2 + x[:, 1].sin() + 5, [[1.0, 1.0, 1.0]]))
    terms = torch.stack([rows[:, 0] ** 2, rows[:, 1].sin(), 0 * rows[:, 2]])
    near(importance(ALEImportance(len(rows)), world), terms.std(1, correction=0))


def test_local_effects_of_a_product_of_equal_columns() -> None:
    # f = x0 x1 where x1 = x0: moving x0 alone changes f by x0 dx, so the effect is x0^2 / 2; the
    # partial dependence, whose points have x1 far from x0, is flat, for x1 has mean 0.
    rows = torch.linspace(-1, 1, 801, dtype=torch.float64)[:, None].expand(801, 2).contiguous()
    world = on(rows, function(lambda x: x[:, 0] * x[:, 1], [[1.0, 1.0]]))
    expected = (rows[:, 0] ** 2 / 2).std(correction=0).item()
    assert importance(ALEImportance(100), world)[0].item() == pytest.approx(expected, rel=0.01)
    near(importance(PDPImportance(10, 801), world), [0.0, 0.0])


def slow_ale(world: toy_worlds.World, unit: int, n_bins: int) -> float:
    """Bin by bin and row by row, for one column."""
    rows, model = world.inputs.domain.background, world.model.module
    ordered = rows[:, unit].sort().values
    ends = ordered[torch.linspace(0, len(rows) - 1, n_bins + 1).round().long()].unique()
    steps = []
    for low, high in pairwise(ends):
        inside = (rows[:, unit] > low) & (rows[:, unit] <= high)
        inside |= (rows[:, unit] == ends[0]) & (low == ends[0])
        pair = [rows[inside].clone(), rows[inside].clone()]
        pair[0][:, unit], pair[1][:, unit] = low, high
        answers = [model(x)[:, world.targets[0]] for x in pair]
        steps.append((answers[1] - answers[0]).mean().item())
    effect = []
    for value in rows[:, unit].tolist():
        total = 0.0
        for low, high, step in zip(ends[:-1].tolist(), ends[1:].tolist(), steps, strict=True):
            total += step * min(max((value - low) / (high - low), 0), 1)
        effect.append(total)
    return torch.tensor(effect).std(correction=0).item()


def test_local_effects_agree_with_a_slow_twin() -> None:
    world = toy_worlds.tabular()
    found = importance(ALEImportance(5), world)
    for unit, column in ((0, 0), (1, 1), (2, 2), (4, 6)):
        assert found[unit].item() == pytest.approx(slow_ale(world, column, 5), abs=1e-7)


def test_a_category_moves_between_its_neighbours() -> None:
    # One-hot columns 3, 4, 5 of weights 1, 5, 2: the effect of a category is its weight.
    weight = torch.tensor([0.0, 0, 0, 1, 5, 2, 0]).double()
    world = toy_worlds.tabular()
    linear = replace(
        world.model,
        predictor=replace(world.model.predictor, module=toy_worlds.Linear(weight), n_outputs=1),
    )
    world = toy_worlds.World(linear, world.inputs, torch.zeros(6).long())
    effects = world.inputs.domain.background @ weight
    near(importance(ALEImportance(500), world)[3], effects.std(correction=0))


def test_patches_have_no_order() -> None:
    with pytest.raises(Unsupported, match="values in an order"):
        importance(ALEImportance(), toy_worlds.image())


def linear_with_labels(n: int = 64) -> toy_worlds.World:
    """A model that is always right; columns of spread 1, 1, 2."""
    rows = toy_worlds.normal(n, 3, seed=9)
    rows = (rows - rows.mean(0)) @ torch.linalg.inv(
        torch.linalg.cholesky(rows.T.cov(correction=0))
    ).T
    rows = rows * torch.tensor([1.0, 1.0, 2.0]).double()
    weight = [3.0, 0.0, -1.0]
    return on(rows, toy_worlds.linear(weight), rows @ torch.tensor(weight).double())


def test_sage_of_a_linear_model_is_the_variance_of_its_terms() -> None:
    """Uncorrelated columns, squared error, the model always right: w^2 var."""
    world = linear_with_labels()
    ready = SAGE(n_orders=6400, n_references=64).fit(world.model, world.background(), rng=FIT)
    answer = ready.explain(world.model, world.inputs, world.targets, rng=world.rng)
    expected = torch.tensor([9.0 * 1, 0, 1.0 * 4]).double()
    assert ((answer.attribution[0] - expected).abs() <= 4 * answer.standard_error[0]).all()
    assert answer.standard_error[0, 1] == 0, "what the model does not hear is worth nothing, surely"
    assert (answer.standard_error[0] < 0.3).all()
    near(answer.attribution[0].sum(), expected.sum())  # every order adds up to the same


def test_sage_adds_up_to_the_fall_of_the_loss() -> None:
    world = toy_worlds.tabular()
    rows, labels = world.inputs.domain.background, world.inputs.domain.labels
    found = importance(SAGE(n_orders=48, n_references=24), world).sum()  # every row twice
    out = world.model.module(rows)
    known = torch.nn.functional.cross_entropy(out, labels)
    unknown = torch.nn.functional.nll_loss(out.softmax(1).mean(0).log().expand(24, -1), labels)
    near(found, unknown - known)


def test_the_standard_error_of_sage_is_the_spread_of_its_estimates() -> None:
    world = linear_with_labels(16)
    made = [SAGE(64, 16).fit(world.model, world.background(), rng=Seeds(k).stream(
        "fit", samples=torch.zeros(1, dtype=torch.long))) for k in range(60)]  # fmt: skip
    estimates = torch.stack([m.fitted.values for m in made]).std(0)
    stated = torch.stack([m.fitted.standard_error for m in made]).mean(0)
    # Rows are taken equally often, not at random, so the stated error is on the safe side.
    assert (estimates[[0, 2]] < 1.1 * stated[[0, 2]]).all()
    assert (estimates[[0, 2]] > 0.3 * stated[[0, 2]]).all()


def test_a_unit_that_misleads_is_worth_less_than_nothing() -> None:
    world = linear_with_labels()
    labels = world.inputs.domain.labels
    assert (
        importance(SAGE(256, 32), on(world.inputs.domain.background, world, -labels))[0] < 0
    ).all()


def test_sage_needs_labels() -> None:
    with pytest.raises(Unsupported, match="no labels"):
        importance(SAGE(), on(toy_worlds.normal(8, 3), toy_worlds.linear([1.0, 0, 0])))


@each
def test_the_rows_of_fitting_are_as_stated(explainer: Any) -> None:
    world = toy_worlds.tabular()
    metered = Metered(world.model)
    explainer.fit(metered, world.background(), rng=FIT)
    stated = {"ALEImportance": 2 * 5 * 24 * 3, "SAGE": 8 * 6 * 4}
    assert metered.usage.rows.forward == stated.get(type(explainer).__name__, 5 * 3 * 8 * 3)


@each
def test_memory_is_bounded_and_changes_no_bit(explainer: Any) -> None:
    world = toy_worlds.tabular()
    small = toy_worlds.World(replace(world.model, max_rows=5), world.inputs, world.targets)
    assert torch.equal(importance(explainer, world), importance(explainer, small))


@each
def test_a_class_has_its_own_importance_and_fit_comes_first(explainer: Any) -> None:
    world = toy_worlds.tabular()
    with pytest.raises(ValueError, match="call fit first"):
        world.explain(explainer)
    ready = explainer.fit(world.model, world.background(), rng=FIT)
    assert ready == explainer
    mixed = toy_worlds.World(world.model, world.inputs, torch.tensor([0, 1, 2, 0, 1, 2]))
    found = mixed.explain(ready)
    assert torch.equal(found[:3], found[3:])
    assert torch.equal(found[0], found[1]) == isinstance(explainer, SAGE)


@pytest.mark.parametrize(
    "explainer", [PDPImportance(1), ICEImportance(5, 0), ALEImportance(0), SAGE(1), SAGE(4, 0)]
)
def test_settings_that_make_no_sense_are_told(explainer: Any) -> None:
    with pytest.raises(ValueError, match="found n_"):
        importance(explainer, toy_worlds.tabular())
