"""Every explainer of `conf/` keeps the contract in every toy world that meets its needs.

And the controls are what they say.
"""

from __future__ import annotations

import copy
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hydra import compose, initialize_config_dir
from hydra.utils import get_class, instantiate

from tests.support import paths, toy_worlds
from tests.support.components import (
    all_of,
    library,
    options,
    representatives,
    takes_long,
)
from xai_bench.certify.explainer import BlackBox, missing_needs
from xai_bench.certify.metric_under_test import case_of
from xai_bench.core import units
from xai_bench.core.baselines import Marginal
from xai_bench.core.cost import Metered
from xai_bench.core.seeds import Seeds
from xai_bench.explainers.controls import (
    ConstantMap,
    DegradedOracle,
    InputMagnitude,
    MetricMaximiser,
    Oracle,
    Random,
)
from xai_bench.metrics.complexity import Gini
from xai_bench.types import AXIOMS, EXPLAINER_NEEDS, Fitted, Rows, Unsupported, tags_of

torch.set_num_threads(1)
CONF = paths.CONF / "explainer"
NAMES = options("explainer")
explainers = all_of("explainer")
N_REFERENCES = 3
SMALLER = {"n_samples": 12, "n_orders": 16, "budget": 40 * N_REFERENCES}
"""At most so many: what is promised holds at any size."""
MAX_ROWS = 1000
"""Beyond so many rows per sample, a method that tries everything is tried in smaller worlds."""


@cache
def written(name: str) -> dict[str, Any]:
    """What the YAML of an explainer says."""
    return yaml.safe_load((CONF / f"{name}.yaml").read_text())[name]


def build(name: str) -> Any:
    node = dict(written(name))
    make = get_class(node.pop("_target_"))
    if "baseline" in node:
        node["baseline"] = Marginal(N_REFERENCES)
    parts = {key: value for key, value in node.items() if key in ("metric", "language_model")}
    node |= {key: get_class(value["_target_"])() for key, value in parts.items()}
    node |= {key: min(node[key], most) for key, most in SMALLER.items() if node.get(key)}
    made = make(**node)
    # Enough for those that draw coalitions of the most units in these worlds.
    least = made.least(16) * N_REFERENCES if hasattr(made, "least") else 0
    return replace(made, budget=max(made.budget, least)) if least else made


def missing(name: str, where: str) -> set[str]:
    """What an explainer cannot do without, by its tags, and a world lacks."""
    return missing_needs(build(name), where) - {"truth"}  # `with_truth` writes one down


def is_large(name: str, where: str) -> bool:
    """Whether it takes too many rows for a test, as it states them."""
    stated = stated_rows(build(name), n_units(where))
    return stated is not None and stated.forward > MAX_ROWS


@cache
def n_units(where: str) -> int:
    return units.width(toy_worlds.WORLDS[where]().inputs.units)


def stated_rows(explainer: Any, n_units: int) -> Rows | None:
    """None where nobody can state them beforehand, or only who knows the network."""
    return explainer.rows(n_units, N_REFERENCES) if hasattr(explainer, "rows") else None


@cache
def home(name: str) -> str | None:
    """The first world that an explainer can work in."""
    able = [w for w in toy_worlds.WORLDS if not missing(name, w) and not is_large(name, w)]
    return able[0] if able else None


def in_every_world() -> pytest.MarkDecorator:
    """Ours all at home, a third of the representatives on texts; every pair is exhaustive.

    Of those that take long, representatives at home.
    """

    def marks(name: str, where: str) -> list[pytest.MarkDecorator]:
        at_home = where == (home(name) or "tabular")
        reasons = (name in representatives("explainer")) + at_home + (not takes_long(name))
        if reasons == 2 and not at_home and (where != "text" or NAMES.index(name) % 3):
            return [pytest.mark.exhaustive]
        return [[pytest.mark.exhaustive], [pytest.mark.exhaustive], [pytest.mark.slow], []][reasons]

    pairs = [(name, where) for where in toy_worlds.WORLDS for name in NAMES]
    cases = [pytest.param(*pair, marks=marks(*pair)) for pair in pairs]
    return pytest.mark.parametrize(("name", "world_name"), cases)


def ready(name: str, world: toy_worlds.World) -> Any:
    explainer = build(name)
    if isinstance(explainer, Fitted):
        rng = Seeds(0).stream("fit", samples=torch.zeros(1, dtype=torch.long))
        return explainer.fit(world.model, world.background(), rng=rng)
    return explainer


def with_truth(world: toy_worlds.World) -> toy_worlds.World:
    truth = lambda inputs, targets: torch.where(inputs.units < 0, 0, inputs.x * 2)  # noqa: E731
    domain = replace(world.inputs.domain, truth=truth)
    return toy_worlds.World(world.model, replace(world.inputs, domain=domain), world.targets)


@contextmanager
def no_trace(world: toy_worlds.World) -> Iterator[None]:
    """Inputs, module and torch's own generator are after the block what they were before it."""
    module, x = world.model.module, world.inputs.x
    before = (x.clone(), copy.deepcopy(module.state_dict()), torch.get_rng_state())
    yield
    assert torch.equal(x, before[0])
    assert x.grad is None
    assert not x.requires_grad
    assert all(torch.equal(v, before[1][k]) for k, v in module.state_dict().items())
    assert torch.equal(torch.get_rng_state(), before[2])
    for part in module.modules():
        assert not part._forward_hooks
        assert not part._forward_pre_hooks
        assert not part._backward_hooks
        assert not part.training
    assert all(p.grad is None and not p.requires_grad for p in module.parameters())


@pytest.mark.sample(14, others="slow")
@in_every_world()
def test_an_explainer_keeps_its_promises_wherever_its_needs_are_met(name, world_name):
    """All at once, for explaining takes long: shape, cost, side effects, independence of batches.

    Where a need is not met, it says so.
    """
    world = with_truth(toy_worlds.WORLDS[world_name]()).take(torch.arange(4))
    if missing(name, world_name):
        with pytest.raises(Unsupported):
            world.explain(ready(name, world))
        return
    if is_large(name, world_name):
        pytest.skip(f"more than {MAX_ROWS} rows per sample")
    before = world.inputs.x
    metered = Metered(world.model)
    explainer = ready(name, world)
    with no_trace(world):
        found = explainer.explain(metered, world.inputs, world.targets, rng=world.rng).attribution
    assert found.shape == before.shape
    assert found.dtype == before.dtype
    assert found.isfinite().all()
    assert not found.requires_grad
    assert not found[world.inputs.units < 0].any(), "padding has no attribution"

    stated = [stated_rows(explainer, n) for n in units.count(world.inputs.units).tolist()]
    if None not in stated:
        total = Rows(sum(r.forward for r in stated), sum(r.gradient for r in stated))
        assert metered.usage.rows == total

    backwards = list(range(len(before)))[::-1]
    batches = [[2], [3, 1, 1], backwards]
    if library(name) and world_name != home(name):
        batches = [[3, 0]]  # they are slow
    else:
        assert torch.equal(world.explain(explainer), found)
    for rows in batches:
        assert torch.equal(world.take(torch.tensor(rows)).explain(explainer), found[rows]), rows


@pytest.mark.sample(3, others="slow")
@explainers
def test_a_black_box_is_refused_by_those_who_need_gradients_only(name):
    needs = set(tags_of(build(name)).needs)
    world = with_truth(toy_worlds.WORLDS[home(name) or "tabular"]()).take(torch.arange(2))
    asked = (BlackBox(world.model), world.inputs, world.targets)
    if needs & {"gradient", "module", "attention", "linear", "trees", "glass_box", "vocabulary"}:
        with pytest.raises(Unsupported):
            ready(name, toy_worlds.World(BlackBox(world.model), *asked[1:])).explain(
                *asked, rng=world.rng
            )
    else:
        ready(name, world).explain(*asked, rng=world.rng)


@pytest.mark.sample(2)
@explainers
def test_a_small_memory_changes_no_bit(name):
    where = home(name)
    if where is None or "one_call" in tags_of(build(name)).needs:
        pytest.skip(f"{name} needs another model, or all its rows in one call")
    world = with_truth(toy_worlds.WORLDS[where]()).take(torch.arange(2))
    model = replace(world.model, max_rows=3)
    small = toy_worlds.World(model, world.inputs, world.targets)
    assert torch.equal(small.explain(ready(name, small)), world.explain(ready(name, world)))


def test_tags_are_of_the_vocabulary_and_equal_settings_are_equal():
    for name in NAMES:
        explainer = build(name)
        tags = tags_of(explainer)
        assert explainer.kind in ("sensitivity", "contribution", "relevance", "ranking"), name
        assert set(tags.needs) <= set(EXPLAINER_NEEDS), name
        assert set(tags.breaks_axioms) <= set(AXIOMS), name
        assert isinstance(tags.paper, str), name
        assert isinstance(tags.version, int), name
        assert isinstance(stated_rows(explainer, 4), Rows | None), name
        assert hash(explainer) == hash(build(name)), name


def test_random_units_are_equally_often_first():
    # One draw per unit: the one-hot category of three columns has no better chance.
    world = toy_worlds.tabular()
    many = toy_worlds.World(world.model, world.inputs.take(torch.zeros(4000).long()), world.targets)
    inputs = replace(many.inputs, index=torch.arange(4000))
    noise = Random().explain(world.model, inputs, many.targets, rng=toy_worlds.World(
        world.model, inputs, many.targets).rng).attribution  # fmt: skip
    scores = units.pool(noise, inputs.units)
    assert torch.allclose(scores.std(0), torch.ones(5).double(), atol=0.1)
    first = scores.argmax(1).bincount(minlength=5) / 4000
    assert torch.allclose(first, torch.full((5,), 0.2), atol=0.03)


def test_controls():
    world = with_truth(toy_worlds.text())
    scores = units.pool(world.explain(ConstantMap()), world.inputs.units)
    assert torch.allclose(scores, units.present(world.inputs.units).double())
    assert torch.equal(world.explain(InputMagnitude()), world.inputs.x.abs())
    assert torch.equal(world.explain(Oracle()), 2 * world.inputs.x)
    with pytest.raises(Unsupported, match="written down"):
        toy_worlds.text().explain(Oracle())


@pytest.fixture
def conf(tmp_path: Path) -> str:
    """The real explainers under a bare root."""
    shutil.copytree(CONF, tmp_path / "explainer")
    (tmp_path / "config.yaml").write_text(
        "defaults:\n  - explainer: default\n  - _self_\n"
        "baseline:\n  explain:\n    _target_: xai_bench.core.baselines.Mean\n"
    )
    return str(tmp_path)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["explainer=[saliency,lime]"], ["saliency", "lime"]),
        (
            ["explainer=[controls,lime]"],
            ["random", "constant", "input_magnitude", "oracle", "lime"],
        ),
    ],
)
def test_sets_merge(conf, overrides, expected):
    with initialize_config_dir(conf, version_base="1.3"):
        config = compose("config", overrides)
    assert list(config.explainer) == expected
    for node in config.explainer.values():
        assert instantiate(node) is not None


def test_one_field_is_overridden_by_name(conf):
    with initialize_config_dir(conf, version_base="1.3"):
        config = compose("config", ["explainer=default", "explainer.lime.budget=99"])
    assert config.explainer.lime.budget == 99
    assert len(config.explainer) == 11


def test_the_degraded_oracle_lies_between_truth_and_noise():
    world = with_truth(toy_worlds.text())
    ids = world.inputs.units
    truth = world.explain(Oracle())
    assert torch.equal(world.explain(DegradedOracle(noise=0.0)), truth)
    left = units.pool((world.explain(DegradedOracle(noise=0.5)) - truth).double(), ids)
    size = units.pool(truth.double(), ids).square().sum(1).sqrt()
    ratio = left.square().sum(1).sqrt() / size
    assert 0.2 < ratio.mean() < 0.9
    with pytest.raises(Unsupported, match="written down"):
        toy_worlds.text().explain(DegradedOracle())


def test_the_maximiser_maxes_what_it_is_told_to():
    """Gini's largest value is one unit alone; more steps never score less."""
    world = toy_worlds.text()
    few, many = (
        Gini().score(case_of(world, MetricMaximiser(Gini(), n_steps=n))).nanmean() for n in (4, 64)
    )
    blind = Gini().score(case_of(world, Random())).nanmean()
    assert many >= few > 0
    assert many > blind + 0.1
