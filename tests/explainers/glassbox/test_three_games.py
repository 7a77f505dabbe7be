"""Games with known values: Banzhaf, and one function under three meanings of absence."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from tests.explainers.gradient.test_methods import Function, world_of
from tests.explainers.removal.test_shapley import smooth_world
from tests.support import toy_worlds
from tests.support.components import component
from xai_bench.core import units
from xai_bench.core.baselines import Constant
from xai_bench.explainers.removal.banzhaf import Banzhaf
from xai_bench.explainers.removal.shapley import ExactShapley, KernelSHAP, PermutationShapley

torch.set_num_threads(1)
ZERO = Constant(0.0)


@pytest.mark.parametrize("budget", [16, 512])
@pytest.mark.parametrize(
    ("game", "x", "expected"),
    [
        pytest.param(lambda x: x @ torch.tensor([4.0, -3, 1]).double(), [1.0, 2, 3], [4, -6, 3],
                     id="linear"),
        pytest.param(lambda x: x[:, 0] * x[:, 1], [2.0, 3, 7], [3, 3, 0], id="product, dummy"),
        # All four are needed: a gain of 1 for one of the eight coalitions of the others.
        pytest.param(lambda x: x.amin(1), [1.0, 1, 1, 1], [1 / 8] * 4, id="and"),
        pytest.param(lambda x: x.amax(1), [1.0, 1, 1, 1], [1 / 8] * 4, id="or"),
        # Two left gloves and a right one: the right one gains unless there is no left one.
        pytest.param(lambda x: torch.minimum(x[:, 0] + x[:, 1], x[:, 2]), [1.0, 1, 1],
                     [1 / 4, 1 / 4, 3 / 4], id="gloves"),
        # Two of three are enough: a unit gains where just one of the others is there.
        pytest.param(lambda x: (x.sum(1) - 1).clamp(0, 1), [1.0, 1, 1], [1 / 2] * 3,
                     id="majority"),
    ],
)  # fmt: skip
def test_banzhaf_values_of_small_games(game, x, expected, budget):
    credits = world_of(game, [x, x]).explain(Banzhaf(ZERO, budget))
    assert torch.allclose(credits, torch.tensor([expected, expected]).double(), atol=1e-12)


def test_banzhaf_of_a_linear_model_needs_few_coalitions():
    weight = toy_worlds.normal(40, seed=1)
    world = toy_worlds.linear(weight.tolist(), toy_worlds.normal(3, 40))
    answer = Banzhaf(ZERO, 160).explain(world.model, world.inputs, world.targets, rng=world.rng)
    assert torch.allclose(answer.attribution, weight * world.inputs.x, atol=1e-9)
    assert answer.standard_error.max() < 1e-9


@pytest.mark.slow
def test_banzhaf_estimates_approach_the_exact_values():
    world = smooth_world(10)
    exact = world.explain(Banzhaf(ZERO, 1024))
    errors = [
        (world.explain(Banzhaf(ZERO, b)) - exact).norm() / exact.norm() for b in (40, 120, 720)
    ]
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.05


def test_banzhaf_by_coins_agrees_with_the_list():
    """Beyond twelve units coins are thrown: two idle units do not change the others' values."""
    small, w, v = (
        smooth_world(10),
        toy_worlds.normal(10, 6, seed=5) / 10**0.5,
        toy_worlds.normal(6, seed=6),
    )
    x = torch.cat([small.inputs.x, torch.ones(8, 4).double()], dim=1)
    wide = world_of(lambda x: (2 * x[:, :10] @ w).tanh() @ v, x.tolist())
    exact = small.explain(Banzhaf(ZERO, 1024))
    answer = Banzhaf(ZERO, 4096).explain(wide.model, wide.inputs, wide.targets, rng=wide.rng)
    gap = (answer.attribution[:, :10] - exact) / answer.standard_error[:, :10]
    assert gap.abs().max() < 4.5
    assert answer.standard_error.max() < 0.02


@pytest.mark.parametrize("n_units", [5, 13, 40, 70])
@pytest.mark.parametrize("estimator", [KernelSHAP, Banzhaf])
def test_a_plan_is_pairs_and_its_beginning_is_the_shorter_plan(estimator, n_units):
    rng = toy_worlds.linear([1.0] * 3).rng.shared()
    first = 2 if estimator is KernelSHAP else 0
    whole = estimator(ZERO).design(n_units, 30, rng=rng)
    assert whole.shape == (30, n_units)
    rows = whole[first:].tolist()
    assert sorted(rows) == sorted([not kept for kept in row] for row in rows)
    assert torch.equal(whole[:20], estimator(ZERO).design(n_units, 20, rng=rng))


def test_pairs_of_few_units_come_once():
    kept = KernelSHAP(ZERO).design(6, 64, rng=toy_worlds.linear([1.0] * 3).rng.shared())
    codes = (kept * 2 ** torch.arange(6)).sum(1)
    assert torch.equal(codes.sort().values, torch.arange(64))


@pytest.mark.slow
def test_members_of_a_size_are_equally_likely():
    kept = KernelSHAP(ZERO).design(14, 64_002, rng=toy_worlds.linear([1.0]).rng.shared())[2::2]
    for size in (1, 5, 13):
        chosen = kept[kept.sum(1) == size].double()
        error = (size / 14 * (1 - size / 14) / len(chosen)) ** 0.5
        assert ((chosen.mean(0) - size / 14).abs() < 4.5 * error).all()


@pytest.mark.slow
@pytest.mark.parametrize("budget", [40, 60, 500, 1000])
def test_estimates_without_replacement_are_hardly_biased(budget):
    """2000 samples of one input. A regression on few pairs is biased by a part of what one estimate
    is off by: towards that from each unit alone.
    """
    x = toy_worlds.normal(1, 10, seed=7).expand(2000, -1)
    w, v = toy_worlds.normal(10, 6, seed=5) / 10**0.5, toy_worlds.normal(6, seed=6)
    world = world_of(lambda x: (2 * x @ w).tanh() @ v, x.tolist())
    world = toy_worlds.World(replace(world.model, max_rows=1 << 16), world.inputs, world.targets)
    truth = world.take(torch.arange(1)).explain(ExactShapley(ZERO))
    found = world.explain(KernelSHAP(ZERO, budget))
    part = 0.35 if budget < 100 else 0.25
    assert ((found.mean(0) - truth[0]).abs() < part * found.std(0)).all()


# One function, three games


@dataclass(frozen=True)
class Distribution:
    mean: Tensor
    covariance: Tensor


def copied() -> toy_worlds.World:
    """`f = 2 x0 + x2`, where column 1 is a copy of column 0 that the model never reads."""
    values = toy_worlds.normal(64, 2, seed=1)
    rows = torch.stack([values[:, 0], values[:, 0], values[:, 1]], dim=1)
    world = toy_worlds.world(
        Function(lambda x: 2 * x[:, 0] + x[:, 2]), rows[:6], torch.arange(3), rows
    )
    covariance = torch.tensor([[1.0, 1, 0], [1, 1, 0], [0, 0, 1]]).double()
    distribution = Distribution(torch.zeros(3, dtype=torch.float64), covariance)
    domain = replace(world.inputs.domain, distribution=distribution)
    return toy_worlds.World(world.model, replace(world.inputs, domain=domain), world.targets)


def test_a_copy_is_credited_only_where_absence_is_conditional():
    """Set to a value or drawn alone, the copy is idle: 0. Given what is kept, it tells as much as
    the original: they share `2 x0` evenly.
    """
    world = copied()
    x0, x2 = world.inputs.x[:, 0], world.inputs.x[:, 2]
    at_zero = world.explain(ExactShapley(ZERO))
    assert torch.allclose(at_zero, torch.stack([2 * x0, 0 * x0, x2], dim=1), atol=1e-12)
    marginal = world.explain(component("explainer", "exact_shapley_marginal"))
    assert (marginal[:, 1] == 0).all()
    drawn = component("explainer", "exact_shapley_marginal").baseline
    away = world.inputs.x - drawn.references(world.inputs, rng=world.rng).mean(1)
    expected = torch.stack([2 * away[:, 0], 0 * x0, away[:, 2]], dim=1)
    assert torch.allclose(marginal, expected, atol=1e-12)
    conditional = world.explain(component("explainer", "exact_shapley_conditional"))
    assert torch.allclose(conditional, torch.stack([x0, x0, x2], dim=1), atol=1e-9)


# Other people's


@pytest.mark.exhaustive
def test_agreement_with_shap():
    shap = pytest.importorskip("shap")
    world = smooth_world(8)
    f = lambda rows: world.model.module(torch.as_tensor(rows).double())[:, 0].numpy()  # noqa: E731
    background, x = torch.full((1, 8), 0.2).numpy(), world.inputs.x.numpy()
    kernel = shap.KernelExplainer(f, background).shap_values(x, nsamples=1 << 8, silent=True)
    ours = world.explain(KernelSHAP(Constant(0.2), 1 << 8))
    assert torch.allclose(ours, torch.as_tensor(kernel).double(), atol=1e-6)
    masker = shap.maskers.Independent(background)
    exact = shap.ExactExplainer(f, masker)(x).values
    assert torch.allclose(ours, torch.as_tensor(exact).double(), atol=1e-6)


@pytest.mark.slow
def test_agreement_with_captum():
    attr = pytest.importorskip("captum.attr")
    world = smooth_world(8)
    sampled = attr.ShapleyValueSampling(world.model.module).attribute(
        world.inputs.x, torch.full_like(world.inputs.x, 0.2), world.targets, n_samples=600
    )
    answer = PermutationShapley(Constant(0.2), 8402).explain(
        world.model, world.inputs, world.targets, rng=world.rng
    )
    # Theirs are 600 plain orders, ours 600 pairs.
    gap = (answer.attribution - sampled.double()).norm() / answer.attribution.norm()
    assert gap < 0.05


def test_credits_of_units_are_credits_of_their_elements():
    world = toy_worlds.image()
    credits = world.explain(Banzhaf(Constant(0.1), 200))
    pooled = units.pool(credits, world.inputs.units)
    assert torch.allclose(units.spread(pooled, world.inputs.units), credits, atol=1e-12)
