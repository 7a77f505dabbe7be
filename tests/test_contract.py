"""What every explainer and metric promises, on every kind of input. New YAMLs join unasked."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from tests import toys
from tests.components import component, options
from xai_bench import units
from xai_bench.certify.explainer import n_references
from xai_bench.cost import Metered
from xai_bench.seeds import Seeds
from xai_bench.types import Explainer, Fitted, Unsupported

QUICK = {"budget": 64, "n_samples": 4, "n_draws": 3, "n_repeats": 2}
"""Smaller settings for methods that have them: a contract holds at any size."""

explainers = pytest.mark.parametrize("name", options("explainer"))
metrics = pytest.mark.parametrize("name", options("metric"))
worlds = pytest.mark.parametrize("where", list(toys.WORLDS))


def ready(name: str, world: toys.World) -> Explainer:
    """The explainer, quick and fitted; the test is skipped where it says that it cannot."""
    made = component("explainer", name)
    fields = getattr(made, "__dataclass_fields__", {})
    made = component("explainer", name, **{k: v for k, v in QUICK.items() if k in fields})
    if isinstance(made, Fitted):
        rng = Seeds(0).stream("fit", samples=torch.zeros(1, dtype=torch.long))
        try:
            made = made.fit(world.model, world.background(), rng=rng)
        except Unsupported as reason:
            pytest.skip(str(reason))
    return made


def home(name: str) -> toys.World:
    """The first world in which the explainer can work."""
    for build in toys.WORLDS.values():
        world = build()
        try:
            world.explain(ready(name, world))
        except (Unsupported, pytest.skip.Exception):
            continue
        return world
    pytest.skip("no world has what it needs")


def explained(explainer: Explainer, world: toys.World) -> Tensor:
    try:
        return world.explain(explainer)
    except Unsupported as reason:
        pytest.skip(str(reason))


@explainers
@worlds
def test_an_explanation_is_finite_detached_and_of_the_shape_of_x(name: str, where: str) -> None:
    world = toys.WORLDS[where]()
    found = explained(ready(name, world), world)
    assert found.shape == world.inputs.x.shape
    assert found.isfinite().all()
    assert not found.requires_grad
    assert (found[world.inputs.units < 0] == 0).all(), "padding has no attribution"


@explainers
@worlds
def test_explaining_leaves_no_trace(name: str, where: str) -> None:
    world = toys.WORLDS[where]()
    explainer = ready(name, world)
    module = world.model.module
    assert module is not None
    before = (world.inputs.x.clone(), copy.deepcopy(module.state_dict()), torch.get_rng_state())
    explained(explainer, world)
    assert torch.equal(world.inputs.x, before[0])
    assert world.inputs.x.grad is None
    assert not world.inputs.x.requires_grad
    assert all(torch.equal(v, before[1][k]) for k, v in module.state_dict().items())
    assert torch.equal(torch.get_rng_state(), before[2])
    for part in module.modules():
        assert not part._forward_hooks
        assert not part._forward_pre_hooks
        assert not part._backward_hooks
        assert not part.training
    assert all(p.grad is None and not p.requires_grad for p in module.parameters())


@explainers
@worlds
def test_a_sample_is_explained_alike_in_any_company(name: str, where: str) -> None:
    world = toys.WORLDS[where]()
    explainer = ready(name, world)
    whole = explained(explainer, world)
    assert torch.equal(whole, world.explain(explainer)), "the same stream gives the same answer"
    for rows in ([2], [3, 0], [1, 1]):
        part = world.take(torch.tensor(rows))
        torch.testing.assert_close(part.explain(explainer), whole[rows], rtol=1e-9, atol=1e-11)


@explainers
@worlds
def test_counted_rows_equal_the_closed_form(name: str, where: str) -> None:
    world = toys.WORLDS[where]()
    explainer = ready(name, world)
    if not hasattr(explainer, "rows"):
        pytest.skip(f"{name} states no closed form")
    metered = Metered(world.model)
    try:
        explainer.explain(metered, world.inputs, world.targets, rng=world.rng)
    except Unsupported as reason:
        pytest.skip(str(reason))
    forward, gradient = metered.bill.rows_of(world.inputs.index)
    for sample, n_units in enumerate(units.count(world.inputs.units).tolist()):
        stated: Any = explainer.rows(n_units, n_references(explainer, world))
        if stated is not None:
            assert (forward[sample], gradient[sample]) == (stated.forward, stated.gradient)


@explainers
def test_a_black_box_is_refused_by_those_who_need_gradients_only(name: str) -> None:
    needs = set(component("explainer", name).needs)
    if needs & {"truth", "attention"}:
        pytest.skip("needs more than a model")
    world = home(name) if not needs else toys.tabular()
    explainer = ready(name, world)
    black_box = BlackBox(world.model)
    if needs & {"gradient", "module", "linear", "trees", "glass_box"}:
        with pytest.raises(Unsupported):
            explainer.explain(black_box, world.inputs, world.targets, rng=world.rng)
    else:
        explainer.explain(black_box, world.inputs, world.targets, rng=world.rng)


class BlackBox(Metered):
    """The same answers, no gradients, nothing to hook."""

    differentiable = False  # type: ignore[assignment]
    module = None  # type: ignore[assignment]

    def form(self) -> None:
        return None

    def outputs(self, inputs: Any) -> Tensor:
        return self.model.outputs(inputs).detach()

    def target_output(self, inputs: Any, targets: Tensor) -> Tensor:
        return self.model.target_output(inputs, targets).detach()


def scored(name: str, world: toys.World, attribution: Tensor) -> Tensor:
    """By a metric, of a gradient-like explainer whose first answer is `attribution`."""
    metric = component("metric", name)
    explainer = component("explainer", "saliency")
    kind = "sensitivity" if name == "infidelity" else "contribution"
    case = world.case(attribution, kind, explainer, truth=attribution.roll(1, 1))
    try:
        found: Tensor = metric.score(case)
    except Unsupported as reason:
        pytest.skip(str(reason))
    return found


@metrics
@worlds
def test_a_metric_gives_one_number_per_sample_in_any_company(name: str, where: str) -> None:
    world = toys.WORLDS[where]()
    attribution = world.explain(component("explainer", "gradient"))
    before, state = attribution.clone(), torch.get_rng_state()
    whole = scored(name, world, attribution)
    assert whole.shape == (len(world.inputs),)
    assert not whole.requires_grad
    assert torch.equal(attribution, before)
    assert torch.equal(torch.get_rng_state(), state)
    for rows in ([2], [3, 0], [1, 1]):
        part = scored(name, world.take(torch.tensor(rows)), attribution[rows])
        torch.testing.assert_close(part, whole[rows], rtol=1e-9, atol=1e-11, equal_nan=True)


@metrics
def test_a_shared_probe_does_not_look_at_the_attribution(name: str) -> None:
    world = toys.tabular()
    truthful = world.explain(component("explainer", "gradient"))
    first: dict[Any, Any] = {}
    second: dict[Any, Any] = {}
    metric = component("metric", name)
    explainer = component("explainer", "saliency")
    for attribution, shared in ((truthful, first), (-truthful.roll(2, 1), second)):
        case = world.case(attribution, "sensitivity", explainer, truthful, shared)
        try:
            metric.score(case)
        except Unsupported as reason:
            pytest.skip(str(reason))
    assert first.keys() == second.keys()
    for probe in first:
        assert repr(first[probe]) == repr(second[probe])
