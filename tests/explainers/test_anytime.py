"""A budget is model rows per sample; one run answers at every budget."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from tests.support import toy_worlds
from tests.support.components import component, options
from xai_bench.core import units
from xai_bench.core.baselines import Marginal
from xai_bench.core.cost import Metered
from xai_bench.explainers.removal.engine import CoalitionSampler
from xai_bench.types import Unsupported

torch.set_num_threads(1)
BUDGETS = (16, 50, 64, 128, 512)
TIERS = {16: (), 128: (), 512: pytest.mark.slow}
SOME_BUDGETS = [
    pytest.param(budget, marks=TIERS.get(budget, pytest.mark.exhaustive)) for budget in BUDGETS
]
ANYTIME = [
    name
    for name in options("explainer")
    if isinstance(component("explainer", name), CoalitionSampler)
]
"""Those on coalitions; masks, gradients and counterfactuals are tried where they are tested."""
ours = pytest.mark.parametrize("name", ANYTIME)
tabular, *others = toy_worlds.WORLDS
LATER = {"text": pytest.mark.slow}
"""Texts have padding and units of several elements; all worlds are tried by `make test-all`."""
worlds = pytest.mark.parametrize(
    "where",
    [
        tabular,
        *(pytest.param(w, marks=LATER.get(w, pytest.mark.exhaustive)) for w in others),
    ],
)


def built(name: str, n_references: int, budget: int) -> Any:
    marginal = {"_target_": "xai_bench.core.baselines.Marginal", "n_draws": n_references}
    return component("explainer", name, baseline=marginal, budget=budget)


def same(one: torch.Tensor | None, other: torch.Tensor | None) -> bool:
    if one is None or other is None:
        return one is other
    return torch.equal(one.nan_to_num(-7e77), other.nan_to_num(-7e77))


def test_the_shapley_estimators_are_among_them():
    assert {"permutation_shapley", "kernel_shap", "lime"} <= set(ANYTIME)


@pytest.mark.sample(5)
@pytest.mark.sample(5, others="slow")
@ours
@pytest.mark.parametrize("n_references", [1, 3])
@pytest.mark.parametrize("budget", SOME_BUDGETS)
def test_counted_rows_equal_the_closed_form_and_keep_to_the_budget(name, budget, n_references):
    explainer = built(name, n_references, budget)
    for where in ("tabular", "image", "text"):
        world = toy_worlds.WORLDS[where]()
        metered = Metered(world.model)
        if explainer.least(units.width(world.inputs.units)) * n_references > budget:
            with pytest.raises(Unsupported, match=f"a budget of {budget} model rows is too small"):
                world.explain(explainer)
            continue
        explainer.explain(metered, world.inputs, world.targets, rng=world.rng)
        forward, gradient = metered.usage.rows_of(world.inputs.index)
        assert (forward <= budget).all()
        assert not gradient.any()
        counts = units.count(world.inputs.units).tolist()
        assert forward.tolist() == [explainer.rows(n, n_references).forward for n in counts]


@pytest.mark.sample(7)
@pytest.mark.sample(7, others="slow")
@ours
@worlds
def test_one_run_gives_what_each_budget_gives_alone(name, where):
    world = toy_worlds.WORLDS[where]()
    explainer = built(name, 2, 512)
    least = explainer.least(units.width(world.inputs.units)) * 2
    budgets = (least, least + 1, least + 30, least + 100, 1024)
    metered = Metered(world.model)
    found = explainer.anytime(metered, world.inputs, world.targets, budgets, rng=world.rng)
    for budget, answer in zip(budgets, found, strict=True):
        assert metered.usage.rows_of(world.inputs.index)[0].max() <= budget
        alone = replace(explainer, budget=budget)
        model = Metered(world.model)
        expected = alone.explain(model, world.inputs, world.targets, rng=world.rng)
        assert torch.equal(answer.attribution, expected.attribution)
        assert same(answer.standard_error, expected.standard_error)
        assert same(answer.degrees_of_freedom, expected.degrees_of_freedom)
        assert model.usage.rows == metered.usage.rows, "nothing was asked for twice"
        assert torch.equal(world.explain(alone), expected.attribution)


@ours
def test_budgets_must_ascend(name):
    world = toy_worlds.tabular()
    explainer = built(name, 1, 64)
    with pytest.raises(ValueError, match="ascend"):
        list(explainer.anytime(world.model, world.inputs, world.targets, (64, 32), rng=world.rng))


@pytest.mark.sample(12, others="slow")
@ours
def test_too_small_a_budget_is_told_in_rows(name):
    world = toy_worlds.linear([1.0] * 40, n=2)
    explainer = replace(built(name, 1, 64), baseline=Marginal(3))
    least = 3 * explainer.least(40)
    enough = replace(explainer, budget=least)
    assert world.explain(enough).isfinite().all()
    with pytest.raises(Unsupported, match=f"{least - 1} model rows .* at least {least},"):
        world.explain(replace(explainer, budget=least - 1))
