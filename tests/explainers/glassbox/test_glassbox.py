"""Explanations that are read off linear, additive and single-tree models; the additive model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from torch import nn

from tests.support import toy_worlds
from tests.support.components import component
from tests.support.glassbox_worlds import (
    FOREST,
    GLASS,
    LOGIT,
    PROBABILITY,
    classes,
    values,
    world_of,
)
from tests.support.model_bundles import bundle, ignore, images
from xai_bench.certify.explainer import BlackBox
from xai_bench.core import units
from xai_bench.core.baselines import Background, Mean
from xai_bench.core.cost import Metered
from xai_bench.explainers.glassbox.glassbox import GlassBox, LinearSHAP
from xai_bench.explainers.glassbox.structure import is_glass_box
from xai_bench.explainers.removal.shapley import ExactShapley
from xai_bench.models.additive import Additive
from xai_bench.models.sklearn import Linear
from xai_bench.models.structure import read
from xai_bench.models.targets import TrueLabel
from xai_bench.models.trees import Tree
from xai_bench.results.store.store import Store
from xai_bench.runner.cells.job import job
from xai_bench.runner.config import preflight
from xai_bench.runner.config.catalogue import conf_dir
from xai_bench.types import AdditiveStructure, LinearStructure, Unsupported

worlds = pytest.mark.parametrize("name", GLASS)
LINEAR = [name for name in GLASS if name.startswith("linear")]


@pytest.mark.sample(3, others="slow")
@worlds
@pytest.mark.parametrize("grouped", [False, True])
def test_the_glass_box_is_exactly_the_shapley_values(name: str, grouped: bool) -> None:
    world = GLASS[name](grouped=grouped)
    found, exact = (world.explain(e) for e in (GlassBox(), ExactShapley(Background())))
    found, exact = (units.pool(a, world.inputs.units) for a in (found, exact))
    torch.testing.assert_close(found, exact, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", LINEAR)
def test_of_a_linear_model_the_mean_and_the_whole_background_are_one_game(name: str) -> None:
    world = GLASS[name]()
    found = world.explain(LinearSHAP())
    assert torch.equal(found, world.explain(GlassBox()))
    exact = world.explain(ExactShapley(Mean()))
    torch.testing.assert_close(found, exact, rtol=0, atol=1e-9)


def test_linear_shap_by_hand() -> None:
    # f = 3 a - b against the mean (1, 2): at (2, 2) they are worth 3 and 0.
    world = toy_worlds.linear([3.0, -1.0], torch.tensor([[2.0, 2.0]]).double())
    rows = torch.tensor([[0.0, 1.0], [2.0, 3.0]]).double()
    domain = replace(world.inputs.domain, background=rows)
    head = nn.Linear(2, 1).double()
    head.load_state_dict({"weight": torch.tensor([[3.0, -1.0]]), "bias": torch.tensor([9.0])})
    model = replace(world.model, predictor=replace(world.model.predictor, module=head))
    world = toy_worlds.World(model, replace(world.inputs, domain=domain), world.targets)
    assert world.explain(LinearSHAP()).tolist() == [[3.0, 0.0]]
    assert world.explain(GlassBox()).tolist() == [[3.0, 0.0]]


@pytest.mark.sample(2, others="slow")
@worlds
def test_the_same_bits_in_any_company_and_no_row(name: str) -> None:
    world = GLASS[name](grouped=True)
    whole = world.explain(GlassBox())
    for rows in ([2], [3, 0], [1, 1]):
        assert torch.equal(world.take(torch.tensor(rows)).explain(GlassBox()), whole[rows])
    metered = Metered(world.model)
    found = GlassBox().explain(metered, world.inputs, world.targets, rng=world.rng).attribution
    assert torch.equal(found, whole)
    assert metered.usage.rows == GlassBox().rows(6)


def test_other_models_are_declined() -> None:
    forest = world_of(FOREST, values())
    for world, explainer, words in (
        (forest, GlassBox(), "single tree; use model=linear"),
        (toy_worlds.tabular(), GlassBox(), "single tree; use model=linear"),
        (forest, LinearSHAP(), "linear in x; use model=linear"),
        (world_of(Additive(), values()), LinearSHAP(), "linear in x; use model=linear"),
        (world_of(Linear(), classes(2), PROBABILITY), LinearSHAP(), "target=predicted_logit"),
        (world_of(Additive(), classes(2), PROBABILITY), GlassBox(), "target=predicted_logit"),
    ):
        explain: Any = explainer
        with pytest.raises(Unsupported, match=words):
            world.explain(explain)


@pytest.mark.parametrize(
    ("recipe", "target"), [(FOREST, LOGIT), (Linear(), PROBABILITY), (Tree(), TrueLabel())]
)
def test_asking_whether_a_model_is_a_glass_box_stops_nothing(recipe: Any, target: Any) -> None:
    """A cell asks it of every model: one whose trees add up to another scalar is simply none."""
    single = isinstance(recipe, Tree)
    assert is_glass_box(world_of(recipe, classes(2), target).model) == single


@pytest.mark.parametrize(
    "name", ["glass_box", "linear_shap", "tree_shap_interventional", "tree_shap_path_dependent"]
)
def test_a_black_box_is_declined(name: str) -> None:
    world = GLASS["tree_value" if name.startswith("tree") else "linear_value"]()
    explainer = component("explainer", name)
    assert world.explain(explainer).any()
    black_box: Any = BlackBox(world.model)
    with pytest.raises(Unsupported):
        explainer.explain(black_box, world.inputs, world.targets, rng=world.rng)


@pytest.mark.slow
def test_who_will_be_skipped_is_told_before_any_work() -> None:
    names = "glass_box,linear_shap,tree_shap_path_dependent,random"
    for model, expected in (
        ("linear", ["Linear is not made of trees: tree_shap_path_dependent will be skipped"]),
        ("tree", ["Tree is not linear: linear_shap will be skipped"]),
        (
            "svm",
            [
                "SVM is not linear: linear_shap will be skipped",
                "SVM is not made of trees: tree_shap_path_dependent will be skipped",
                "SVM is no glass box: glass_box will be skipped",
            ],
        ),
        ("checkpoint", []),
    ):
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            cfg = compose("config", [f"model={model}", f"explainer=[{names}]"])
        assert preflight.notes(cfg) == expected


# Reading


def test_what_is_read_of_modules() -> None:
    linear, relu = nn.Linear(2, 2), nn.ReLU()
    assert isinstance(read(nn.Sequential(nn.Flatten(), linear)), LinearStructure)
    assert isinstance(read(linear), LinearStructure)
    assert read(nn.Sequential(linear, linear)) is None, "the same layer twice"
    assert read(nn.Sequential(linear, relu, nn.Linear(2, 1))) is None, "units hear two elements"
    assert read(nn.Sequential(linear, nn.Tanh())) is None
    with torch.no_grad():
        linear.weight.copy_(torch.tensor([[0.0, 2.0], [-1.0, 0.0]]))
    assert isinstance(read(nn.Sequential(linear, relu, nn.Linear(2, 1))), AdditiveStructure)
    assert read(nn.Sequential(linear, nn.Tanh(), nn.Linear(2, 1))) is None
    assert read(nn.Sequential(relu, linear)) is None


def test_terms_add_up_to_the_output_but_for_a_constant() -> None:
    world = GLASS["additive_logit"]()
    structure = world.model.structure()
    total = structure.terms(world.inputs.x, world.targets).sum(1)
    rest = world.model.target_output(world.inputs, world.targets) - total
    bias = world.model.module.head.bias[world.targets]
    torch.testing.assert_close(rest, bias, rtol=0, atol=1e-9)


def test_the_true_label_is_a_column_of_the_outputs() -> None:
    world = world_of(Linear(), classes(3), TrueLabel())
    torch.testing.assert_close(
        world.explain(GlassBox()), world.explain(ExactShapley(Mean())), rtol=0, atol=1e-9
    )


# The additive model


def test_the_additive_model_finds_curves_and_no_product() -> None:
    x = toy_worlds.normal(2000, 2)
    curves = bundle(x, 7 + 2 * x[:, 0].abs() + x[:, 1])
    world = world_of(Additive(l2=1e-6, n_knots=15), curves, n=50)
    expected = (
        2 * world.inputs.x[:, 0].abs() - 2 * world.inputs.domain.background[:, 0].abs().mean()
    )
    assert (world.explain(GlassBox())[:, 0] - expected).abs().max() < 0.15
    product = bundle(x, x[:, 0] * x[:, 1])
    answers = world_of(Additive(), product, n=50).model.outputs(world.inputs)
    assert answers.std() < 0.3


def test_a_curve_bends_at_quantiles_only() -> None:
    x = toy_worlds.normal(300, 1)
    predictor: Any = (
        Additive(n_knots=2).train(bundle(x, x[:, 0] ** 3), seed=0, on_epoch=ignore).predictor
    )
    knots = x[:180, 0].quantile(torch.tensor([1 / 3, 2 / 3], dtype=torch.float64))
    hidden = predictor.module.features[0]
    assert torch.allclose(-hidden.bias / hidden.weight[:, 0], knots[[0, 0, 1]])
    line = torch.linspace(-5, knots[0].item(), 20, dtype=torch.float64)[:, None]
    assert predictor(line, {}).diff(n=2, dim=0).abs().max() < 1e-9


def test_the_additive_model_is_stored_and_takes_images(tmp_path: Path) -> None:
    data = images()
    recipe = Additive(n_knots=2)
    predictor = recipe.train(data, seed=0, on_epoch=ignore).predictor
    recipe.save(predictor, tmp_path)
    again = recipe.load(data, tmp_path)
    assert torch.equal(again(data.test.x, {}), predictor(data.test.x, {}))
    world = world_of(recipe, data, n=3)
    found = world.explain(GlassBox())
    total = world.model.target_output(world.inputs, world.targets)
    background = world.background()
    for b, target in enumerate(world.targets.tolist()):
        mean = world.model.outputs(background)[:, target].mean()
        assert found[b].sum().item() == pytest.approx((total[b] - mean).item(), abs=1e-4)


def test_curves_need_a_bend() -> None:
    with pytest.raises(ValueError, match="found n_knots 0"):
        world_of(Additive(n_knots=0), values())


# The single tree


def test_a_tree_of_classes_tells_shares_of_its_leaves() -> None:
    world = world_of(Tree(max_depth=2, floor=0.02), classes(2), LOGIT, n=30)
    estimator: Any = world.model.predictor
    shares = torch.tensor(estimator.estimator.predict_proba(world.inputs.x.numpy()))
    out = world.model.outputs(world.inputs)
    torch.testing.assert_close(out.exp(), 0.02 + 0.96 * shares, rtol=0, atol=1e-12)
    assert len(out.unique(dim=0)) <= 4


@pytest.mark.slow
def test_a_forest_is_explained_though_no_truth_can_be_read_of_its_logit(tmp_path: Path) -> None:
    chosen = ["data=wine", "model=random_forest", "explainer=[leave_one_out]", "metric=[abpc]"]
    small = ["model.n_estimators=5", "evaluation.n_samples=4", "recorder=none", "study=t"]
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        cfg = compose("config", [*chosen, *small, f"results={tmp_path}", "strict=true"])
    names = {"data": "wine", "model": "random_forest", "view": "inputs"}
    names |= {"target": "predicted_logit", "baseline.explain": "mean", "baseline.measure": "mean"}
    assert job(cfg, names) == "ok"
    ((_, (result,)),) = Store(tmp_path).cells("t")
    assert result.scores["abpc"].values.isfinite().all()


@pytest.mark.sample(2)
@pytest.mark.slow
@pytest.mark.parametrize("model", ["linear", "additive", "tree"])
def test_a_glass_box_is_the_truth_of_its_cell(model: str, tmp_path: Path) -> None:
    """Where nobody has written a truth down, `oracle` gives the model's own explanation."""
    chosen = [f"model={model}", "explainer=[glass_box,oracle]", "metric=[rank_correlation]"]
    frame = [f"results={tmp_path}", "recorder=none", "evaluation.n_samples=4", "study=t"]
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        cfg = compose("config", [*chosen, *frame, "strict=true"])
    names = {"data": "breast_cancer", "model": model, "view": "inputs"}
    names |= {"target": "predicted_logit", "baseline.explain": "mean", "baseline.measure": "mean"}
    assert job(cfg, names) == "ok"
    ((_, found),) = Store(tmp_path).cells("t")
    maps = {one.explainer: one for one in found}
    oracle, glass_box = (maps[name].explanation for name in ("oracle", "glass_box"))
    assert torch.equal(oracle.attribution, glass_box.attribution)
    assert (maps["oracle"].scores["rank_correlation"].values == 1).all()
