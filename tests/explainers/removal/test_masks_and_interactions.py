"""RISE, Sobol indices, interactions and LIME's variants, where the answer is known."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from tests.explainers.gradient.test_methods import world_of
from tests.explainers.removal.test_shapley import asked, ids, smooth_world
from tests.support import toy_worlds
from xai_bench.core import cooperative_games, units
from xai_bench.core.baselines import Constant, Marginal
from xai_bench.core.cost import Metered
from xai_bench.core.seeds import Seeds
from xai_bench.explainers.removal.interactions import ExactInteractions, ShapleyInteractions
from xai_bench.explainers.removal.regression import lasso
from xai_bench.explainers.removal.rise import RISE, UnitRISE
from xai_bench.explainers.removal.shapley import ExactShapley
from xai_bench.explainers.removal.sobol import Sobol
from xai_bench.explainers.surrogate.lime import LIME, LassoLIME
from xai_bench.explainers.surrogate.tabular_lime import TabularLIME, _kept, _point
from xai_bench.types import Unsupported

ZERO = Constant(0.0)
ANYTIME = [LIME(ZERO), LassoLIME(ZERO), TabularLIME(), UnitRISE(ZERO), Sobol(ZERO), RISE(ZERO),
           ShapleyInteractions(ZERO)]  # fmt: skip


@pytest.mark.parametrize("explainer", [RISE(ZERO), TabularLIME()], ids=ids)
def test_budgets_must_ascend(explainer):
    world = toy_worlds.image() if isinstance(explainer, RISE) else toy_worlds.tabular()
    with pytest.raises(ValueError, match=r"budgets must ascend; found \[64, 32\]"):
        list(explainer.anytime(world.model, world.inputs, world.targets, (64, 32), rng=world.rng))


def answer(explainer, world):
    return explainer.explain(world.model, world.inputs, world.targets, rng=world.rng)


@pytest.mark.slow
# f = w.x with each unit kept apart from the others with chance p: E[f m_i] / p is the unit's own
# contribution plus p times those of the others.
def test_unit_rise_of_a_linear_model():
    world, weight = toy_worlds.linear([4.0, -3.0, 0.0, 1.0], n=60), torch.tensor([4.0, -3, 0, 1])
    found = world.explain(UnitRISE(ZERO, budget=2000, keep=0.25)).mean(0)
    expected = weight + 0.25 * (weight.sum() - weight)
    assert torch.allclose(found.float(), expected, atol=0.05)


@pytest.mark.slow
def test_rise_of_a_model_that_ignores_its_input_is_its_output():
    # E[m] = keep at every pixel, for the edges as for the middle.
    world = toy_worlds.image()
    constant = toy_worlds.world(Flat(), world.inputs.x, world.inputs.units[0], world.inputs.x)
    found = constant.explain(RISE(ZERO, budget=1500, cells=3)).sum(1)
    assert torch.allclose(found, torch.full_like(found, 2.0), atol=0.2)


def test_rise_states_the_errors_of_units():
    """Pixels of a unit move together: their own errors would add up to more than the unit's."""
    world, budgets = toy_worlds.image(), range(1, 9)
    runs = list(
        RISE(ZERO).anytime(world.model, world.inputs, world.targets, budgets, rng=world.rng)
    )
    sums = [units.pool(e.attribution, world.inputs.units) * n for n, e in enumerate(runs, start=1)]
    draws = torch.stack(sums).diff(dim=0, prepend=torch.zeros_like(sums[0])[None])
    expected = draws.std(0) / len(draws) ** 0.5
    stated = units.pool(runs[-1].standard_error, world.inputs.units)
    torch.testing.assert_close(stated, expected)


class Flat(torch.nn.Module):
    def forward(self, x):
        return x.flatten(1)[:, :1] * 0 + 2


@pytest.mark.slow
def test_rise_finds_the_only_pixels_that_matter():
    x = torch.ones(2, 1, 12, 12, dtype=torch.float64)
    corner = torch.nn.Module()
    corner.forward = lambda x: x[:, 0, :4, :4].mean((1, 2))[:, None]
    world = toy_worlds.world(corner, x, torch.arange(144).view(1, 12, 12), x)
    found = world.explain(RISE(ZERO, budget=2000, cells=3))[:, 0]
    inside, outside = found[:, :4, :4].mean((1, 2)), found[:, 6:, 6:].mean((1, 2))
    # Far away, the mask is independent of the corner's mean, which is 1/2.
    assert torch.allclose(outside, torch.full_like(outside, 0.5), atol=0.05)
    assert (inside > outside + 0.1).all()


def test_rise_masks_lie_between_off_and_on_and_keep_half():
    world = toy_worlds.image()
    masks = torch.stack([RISE(ZERO)._mask(world.inputs, k, world.rng) for k in range(400)])
    assert masks.min() >= 0
    assert masks.max() <= 1
    assert torch.allclose(masks.mean((0, 1)), torch.full((8, 8), 0.5).double(), atol=0.05)


def test_rise_needs_space():
    with pytest.raises(Unsupported, match="rise_units"):
        toy_worlds.tabular().explain(RISE(ZERO, budget=8))


@pytest.mark.slow
# A unit that fades uniformly has variance d^2 / 12, so the total index of a linear model is its
# share of the squares; of a product of two, V = (4/9 - 1/4 ...) worked out below.
def test_sobol_of_a_linear_model():
    world, weight = toy_worlds.linear([4.0, -3.0, 0.0, 1.0]), torch.tensor([4.0, -3, 0, 1]).double()
    found = answer(Sobol(ZERO, budget=60_000), world)
    expected = weight.square() / weight.square().sum()
    assert torch.allclose(found.attribution, expected.expand(3, -1), atol=0.02)
    assert (found.attribution[:, 2] == 0).all()
    assert ((found.attribution - expected).abs() <= 4 * found.standard_error + 1e-12).all()


@pytest.mark.slow
def test_sobol_of_a_product():
    # m1 m2, uniform: V = 1/9 - 1/16 = 7/144; V1 = Var(m1)/4 = 1/48, so the total index is
    # 1 - V2/V = 1 - (3/144) / (7/144) = 4/7 for both: more than all together, for they share.
    world = world_of(lambda x: x[:, 0] * x[:, 1], [[1.0, 1.0]] * 3)
    found = world.explain(Sobol(ZERO, budget=60_000))
    assert torch.allclose(found, torch.full_like(found, 4 / 7), atol=0.02)


def test_sobol_of_a_flat_model_is_zero():
    found = answer(Sobol(ZERO, 64), world_of(lambda x: 0 * x[:, 0] + 3, [[1.0, 1.0]]))
    assert (found.attribution == 0).all()
    assert (found.standard_error == 0).all()


@pytest.mark.slow
@pytest.mark.parametrize("alpha", [0.0, 0.05, 0.4])
def test_lasso_lime_is_the_lasso_of_scikit_learn(alpha):
    linear_model = pytest.importorskip("sklearn.linear_model")
    world, explainer = smooth_world(6), LassoLIME(ZERO, budget=80, alpha=alpha)
    kept = asked(explainer, 80, world)
    ours = answer(explainer, world)
    for b in range(len(world.inputs)):
        values = world.model.module(torch.where(kept[b], world.inputs.x[b], 0.0))[:, 0]
        weight = torch.exp(-((1 - kept[b].double().mean(1).sqrt()) ** 2) / 0.25**2)
        lasso = linear_model.Lasso(alpha=max(alpha, 1e-9), tol=1e-12, max_iter=100_000)
        lasso.fit(kept[b], values, sample_weight=weight)
        assert torch.allclose(ours.attribution[b], torch.tensor(lasso.coef_), atol=1e-6)
    assert ours.standard_error is None  # which are left out depends on the draws


@pytest.mark.sample(3)
@pytest.mark.slow
@pytest.mark.parametrize("alpha", [0.05, 0.1, 0.5])
@pytest.mark.parametrize("noise", [0.1, 0.3])
def test_a_lasso_of_columns_that_go_together_is_a_minimum(alpha, noise):
    """Its slope is alpha against each sign, and no more where a coefficient is 0 (Tibshirani 1996).

    Columns are sums of few others, so that signs are found late.
    """
    common, own = toy_worlds.normal(6, 60, 4, seed=1), toy_worlds.normal(6, 60, 25, seed=2)
    design = common @ toy_worlds.normal(4, 25, seed=3) + noise * own
    gram = design.mT @ design / 60
    right = (design.mT @ toy_worlds.normal(6, 60, 1, seed=4) / 60)[..., 0]
    found = lasso(gram, right, alpha)
    slope = right - (gram @ found[..., None])[..., 0]
    free = found != 0
    assert 0 < free.sum() < free.numel()
    assert torch.allclose(slope[free], alpha * found[free].sign(), atol=1e-8)
    assert (slope[~free].abs() <= alpha * (1 + 1e-8)).all()
    for row in range(6):
        assert torch.equal(lasso(gram[row : row + 1], right[row : row + 1], alpha)[0], found[row])


def test_lasso_lime_leaves_out_what_does_not_matter():
    world = toy_worlds.linear([4.0, -3.0, 0.0, 0.001], n=4)
    found = world.explain(LassoLIME(ZERO, alpha=0.05))
    assert (found[:, 2:] == 0).all()
    assert (found[:, :2].sign() == torch.tensor([1.0, -1.0])).all()


# Columns are drawn apart from each other, so the coefficient of being in the own quarter is
# w (mean of the quarter - mean of the others), whatever the other columns do.
@pytest.mark.slow
def test_quartile_lime_of_a_linear_model():
    background = torch.stack([torch.arange(8.0), torch.arange(8.0) * 10], dim=1).double()
    x = torch.tensor([[0.0, 70.0], [3.0, 20.0]]).double()
    module = torch.nn.Linear(2, 1, bias=False)
    module.weight.data = torch.tensor([[2.0, -0.1]])
    world = toy_worlds.world(module, x, torch.arange(2), background)
    found = world.explain(TabularLIME(budget=6_000, ridge=0.0, width=100.0))
    # Quarters are {0,1,2} {3,4} {5,6} {7}: edges at 2, 4, 6.
    own = torch.tensor([[1.0, 7.0], [3.5, 1.0]])
    others = torch.tensor([[25 / 5, 21 / 7], [21 / 6, 25 / 5]])
    expected = torch.tensor([2.0, -0.1 * 10]) * (own - others)
    assert torch.allclose(found.float(), expected, atol=0.3)


def test_quartile_lime_keeps_a_category_whole():
    world = toy_worlds.tabular()
    points = torch.stack([_point(world.inputs, k, world.rng) for k in range(30)], dim=1)
    assert torch.equal(points[:, 0], world.inputs.x)
    assert torch.equal(points[..., 3:6].sum(-1), torch.ones(6, 30).double()), (
        "one-hot stays one-hot"
    )
    alike = (points[..., 3:6] == world.inputs.x[:, None, 3:6]).all(-1)
    assert torch.equal(_kept(world.inputs, points)[..., 3], alike)


@pytest.mark.sample(2)
@pytest.mark.slow
@pytest.mark.parametrize("explainer", ANYTIME, ids=ids)
def test_answers_at_several_budgets_from_one_run(explainer):
    world = toy_worlds.image() if isinstance(explainer, RISE) else smooth_world(6)
    budgets = (64, 90, 200)
    metered = Metered(world.model)
    run = explainer.anytime(metered, world.inputs, world.targets, budgets, rng=world.rng)
    for budget, found in zip(budgets, run, strict=True):
        assert metered.usage.rows.forward <= budget * len(world.inputs)
        alone = answer(type(explainer)(**{**vars(explainer), "budget": budget}), world)
        assert torch.equal(found.attribution, alone.attribution)
        errors = (found.standard_error, alone.standard_error)
        assert errors == (None, None) if errors[0] is None else torch.equal(*errors)


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    "explainer",
    [
        LIME(ZERO, 200, ridge=1e-9),  # with a ridge, errors hold what it takes away, too
        UnitRISE(ZERO, 200),
        Sobol(ZERO, 240),
        ShapleyInteractions(ZERO, 200),
    ],
    ids=ids,
)
def test_errors_are_those_seen_over_many_streams(explainer):
    """The spread of the estimates over many streams is what an answer says of itself."""
    world = smooth_world(6, n=1)
    streams = [Seeds(seed).stream("explain", samples=world.inputs.index) for seed in range(400)]
    asked = (world.model, world.inputs, world.targets)
    found = [explainer.explain(*asked, rng=stream) for stream in streams]
    spread = torch.cat([a.attribution for a in found]).std(0)
    told = torch.cat([a.standard_error for a in found]).square().mean(0).sqrt()
    assert torch.allclose(told, spread, rtol=0.2)


# What two do together in x0 x1 + x2 with absence 0: all of 6; alone, x0 and x1 do nothing.
@pytest.mark.parametrize("explainer", [ExactInteractions(ZERO), ShapleyInteractions(ZERO, 40_000)])
def test_interactions_of_a_product(explainer):
    world = world_of(lambda x: x[:, 0] * x[:, 1] + x[:, 2], [[2.0, 3.0, 1.0]])
    found = answer(explainer, world)
    expected = torch.tensor([[0.0, 3, 0], [3, 0, 0], [0, 0, 1]]).double()
    assert torch.allclose(found.interactions[0], expected, atol=0.1)
    assert torch.allclose(found.attribution, found.interactions.sum(2))


def test_an_additive_model_has_no_interactions():
    world = toy_worlds.linear([4.0, -3.0, 0.0, 1.0], toy_worlds.normal(3, 4))
    for explainer in (ExactInteractions(ZERO), ShapleyInteractions(ZERO, 64)):
        found = answer(explainer, world)
        off = found.interactions - found.interactions.diagonal(dim1=1, dim2=2).diag_embed()
        exact = isinstance(explainer, ExactInteractions)
        assert not exact or off.abs().max() < 1e-9
        assert torch.allclose(found.interactions, found.interactions.mT)


def test_exact_interactions_add_up_to_shapley_values():
    world = toy_worlds.tabular()
    found = answer(ExactInteractions(Marginal(3)), world)
    shapley = units.pool(world.explain(ExactShapley(Marginal(3))), world.inputs.units)
    assert torch.allclose(found.interactions.sum(2), shapley, atol=1e-9)


@pytest.mark.slow
def test_interactions_from_some_coalitions_approach_the_exact_ones():
    world = smooth_world(8)
    exact = answer(ExactInteractions(ZERO), world).interactions
    gaps = [
        (answer(ShapleyInteractions(ZERO, budget), world).interactions - exact).norm()
        for budget in (200, 1600, 12_800)
    ]
    assert gaps[0] > 2 * gaps[1] > 4 * gaps[2]


def test_interactions_from_some_coalitions_add_up():
    world = smooth_world(8)
    full = world.model.target_output(world.inputs, world.targets)
    empty = world.model.target_output(world.inputs.with_x(0 * world.inputs.x), world.targets)
    found = answer(ShapleyInteractions(ZERO, 50), world)
    assert torch.allclose(found.attribution.sum(1), full - empty)


def test_pairs_of_texts_have_nan_beyond_their_units():
    world = toy_worlds.text()
    found = answer(ExactInteractions(ZERO), world)
    assert found.interactions.shape == (4, 6, 6)
    assert torch.equal(found.interactions.isfinite()[:, 0].sum(1), torch.tensor([6, 3, 4, 5]))


def test_interaction_indices_are_those_of_the_definition():
    table = toy_worlds.normal(2, 2**5)

    def worth(coalition):
        return table[:, sum(1 << unit for unit in coalition)]

    found = cooperative_games.shapley_interactions(table)
    for i, j in itertools.combinations(range(5), 2):
        rest = [unit for unit in range(5) if unit not in (i, j)]
        index = torch.zeros(2).double()
        for size in range(4):
            share = math.factorial(3 - size) * math.factorial(size) / math.factorial(4)
            for s in itertools.combinations(rest, size):
                index += share * (worth((*s, i, j)) - worth((*s, i)) - worth((*s, j)) + worth(s))
        assert torch.allclose(found[:, i, j], index)


@pytest.mark.parametrize(
    "explainer", [ExactInteractions(ZERO), ShapleyInteractions(ZERO), LassoLIME(ZERO, alpha=0.0)]
)
def test_a_single_unit_gets_everything(explainer):
    world = world_of(lambda x: x[:, 0] ** 2, [[3.0], [2.0]])
    assert torch.allclose(world.explain(explainer), torch.tensor([[9.0], [4.0]]).double())
