"""What every explainer promises, in every world; and the controls."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from hydra import compose, initialize_config_dir
from hydra.utils import get_class, instantiate

from tests.support import paths, toy_worlds
from tests.support.components import LIBRARIES, each_of, options
from xai_bench.certify.explainer import BlackBox
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
from xai_bench.types import Fitted, Rows, Unsupported, tags_of

torch.set_num_threads(1)
CONF = paths.CONF / "explainer"
NAMES = options("explainer")
explainers = each_of(NAMES)
N_REFERENCES = 3
ALL = "tabular image text series gates"
DECLINES = {
    # 16 units; captum's own enumeration is slower
    **dict.fromkeys(("exact_shapley", "exact_shapley_marginal"), "image"),
    **dict.fromkeys(("exact_shapley_conditional", "exact_shapley_interactions"), "image"),
    "captum_shapley_values": "tabular image text series",
    # no axes of space or time
    **dict.fromkeys(("blur_integrated_gradients", "rise"), "tabular gates"),
    # no ReLU layers
    **dict.fromkeys(("guided_backprop", "deconvnet"), "text gates"),
    # no convolution between x and output
    **dict.fromkeys(
        ("grad_cam", "grad_cam_plus_plus", "layer_cam", "score_cam"), "tabular text gates"
    ),
    **dict.fromkeys(("layer_activation", "layer_integrated_gradients"), "tabular text gates"),
    **dict.fromkeys(
        ("layer_conductance", "full_grad", "captum_guided_gradcam", "guided_grad_cam"),
        "tabular text gates",
    ),
    # layers that captum has no rule for
    "captum_lrp": "series gates",
    # no hidden layer
    **dict.fromkeys(("layerwise", "neuron_conductance"), "gates"),
    # one background row; text: a unit is another token in every sample, with its own context
    **dict.fromkeys(("linear_surrogate", "tree_surrogate", "shap_partition"), "gates"),
    **dict.fromkeys(("permutation_importance", "pdp_importance", "ice_importance"), "text gates"),
    **dict.fromkeys(("sage", "nearest_unlike_neighbour"), "text gates"),
    # an order of values is known of columns and categories, and not of patches and segments
    "ale_importance": "image text series gates",
    "occlusion_patches": "tabular text series gates",
    # what the libraries take
    **dict.fromkeys(("dice", "lime_tabular"), "image text series gates"),
    "lime_image": "tabular text series gates",
    "lime_text": "tabular image series gates",
    # the toy models are networks: those that can be read are in test_explainers_{trees,glass}.py
    **dict.fromkeys(("tree_shap_interventional", "tree_shap_path_dependent", "shap_tree"), ALL),
    **dict.fromkeys(("linear_shap", "glass_box", "shap_linear"), ALL),
}
"""Explainer -> the worlds that it says it cannot work in; in all others it must."""
UNSUPPORTED = {(name, world) for name, worlds in DECLINES.items() for world in worlds.split()}
UNCOUNTED = {
    "dice", "captum_occlusion", "occlusion_patches", "shap_kernel", "shap_partition",
    "shap_permutation", "layer_integrated_gradients", "score_cam", "games_gini",
}  # fmt: skip
"""Explainers whose rows nobody can state beforehand, or only who knows the network."""
ROOMY = {"shap_gradient", "shap_deep", "captum_deeplift_shap"}
"""Explainers of libraries that pair rows inside the layers, all in one call."""
SMALLER = {"n_samples": 12, "n_orders": 16}
"""At most so many: what is promised holds at any size."""


def home(name: str) -> str | None:
    """The first world that an explainer can work in."""
    return next((world for world in toy_worlds.WORLDS if (name, world) not in UNSUPPORTED), None)


def build(name: str):
    node = yaml.safe_load((CONF / f"{name}.yaml").read_text())[name]
    build_it = get_class(node.pop("_target_"))
    if "baseline" in node:
        node["baseline"] = Marginal(N_REFERENCES)
    if "metric" in node:
        node["metric"] = get_class(node["metric"]["_target_"])()
    if "budget" in node:
        node["budget"] = 40 * N_REFERENCES
    node |= {name: min(node[name], most) for name, most in SMALLER.items() if name in node}
    if name == "captum_shapley_values":
        node["max_units"] = 4  # it asks for every order, which takes half a minute of five units
    return build_it(**node)


def ready(name: str, world: toy_worlds.World):
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


@pytest.mark.parametrize("world_name", list(toy_worlds.WORLDS))
@explainers
def test_promises(name, world_name):
    """All at once, for explaining is what takes long: shape, form, cost, traces, company."""
    world = with_truth(toy_worlds.WORLDS[world_name]())
    before = world.inputs.x
    metered = Metered(world.model)
    try:
        explainer = ready(name, world)
        with no_trace(world):
            found = explainer.explain(
                metered, world.inputs, world.targets, rng=world.rng
            ).attribution
    except Unsupported as reason:
        if (name, world_name) not in UNSUPPORTED:
            raise
        pytest.skip(str(reason))
    assert found.shape == before.shape
    assert found.dtype == before.dtype
    assert found.isfinite().all()
    assert not found.requires_grad
    assert not found[world.inputs.units < 0].any(), "padding has no attribution"

    counts = units.count(world.inputs.units).tolist()
    if name not in UNCOUNTED:
        each = [explainer.rows(count, N_REFERENCES) for count in counts]
        total = Rows(sum(r.forward for r in each), sum(r.gradient for r in each))
        assert metered.usage.rows == total

    backwards = list(range(len(before)))[::-1]
    companies = [[2], [3, 1, 1], backwards]
    if name.startswith(LIBRARIES) and world_name != home(name):
        companies = [[3, 0]]  # they are slow
    else:
        assert torch.equal(world.explain(explainer), found)
    for rows in companies:
        assert torch.equal(world.take(torch.tensor(rows)).explain(explainer), found[rows]), rows


@explainers
def test_a_black_box_is_refused_by_those_who_need_gradients_only(name):
    needs = set(tags_of(build(name)).needs)
    world = with_truth(toy_worlds.WORLDS[home(name) or "tabular"]())
    asked = (BlackBox(world.model), world.inputs, world.targets)
    if needs & {"gradient", "module", "linear", "trees", "glass_box"}:
        with pytest.raises(Unsupported):
            ready(name, toy_worlds.World(BlackBox(world.model), *asked[1:])).explain(
                *asked, rng=world.rng
            )
    elif name not in ROOMY:
        ready(name, world).explain(*asked, rng=world.rng)


@explainers
def test_a_small_memory_changes_no_bit(name):
    where = home(name)
    if where is None or name in ROOMY:
        pytest.skip(f"{name} needs another model, or room for its pairs")
    world = with_truth(toy_worlds.WORLDS[where]())
    model = replace(world.model, max_rows=3)
    small = toy_worlds.World(model, world.inputs, world.targets)
    assert torch.equal(small.explain(ready(name, small)), world.explain(ready(name, world)))


@pytest.mark.parametrize("name", NAMES)
def test_declarations(name):
    explainer = build(name)
    assert explainer.kind in ("sensitivity", "contribution", "relevance", "ranking")
    assert set(tags_of(explainer).needs) <= {
        "gradient",
        "module",
        "truth",
        "linear",
        "trees",
        "glass_box",
    }
    assert isinstance(tags_of(explainer).paper, str)
    assert isinstance(tags_of(explainer).version, int)
    stated = explainer.rows(4) if hasattr(explainer, "rows") else None
    assert (stated is None) if name in UNCOUNTED else isinstance(stated, Rows)
    assert hash(explainer) == hash(build(name))


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


@pytest.mark.parametrize("name", NAMES)
def test_the_file_name_is_the_name(name):
    assert list(yaml.safe_load((CONF / f"{name}.yaml").read_text())) == [name]


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
