"""Proves what outputs of scikit-learn models and of the oracle mean, and that they are stored."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tests.support.model_bundles import bundle, ignore, normal, plane, three_classes, two_classes
from xai_bench.data.bundle import Bundle
from xai_bench.models.additive import Additive
from xai_bench.models.base import Explained, Recipe
from xai_bench.models.oracle import Oracle
from xai_bench.models.sklearn import SVM, Linear, RandomForest, SklearnPredictor
from xai_bench.models.targets import PredictedLogit
from xai_bench.models.training import scores
from xai_bench.models.trees import GradientBoosting, Tree
from xai_bench.types import Unsupported

RECIPES = [
    Linear(),
    RandomForest(n_estimators=20),
    SVM(),
    Tree(),
    GradientBoosting(n_rounds=20, min_samples_leaf=5),
    Additive(),
]
DATA = {"binary": two_classes(), "three": three_classes(), "plane": plane()}


def fit(recipe: Recipe, data: Bundle, seed: int = 0) -> Any:
    return recipe.train(data, seed=seed, on_epoch=ignore).predictor


@pytest.mark.sample(3, others="slow")
@pytest.mark.parametrize("recipe", RECIPES, ids=lambda r: type(r).__name__)
@pytest.mark.parametrize("data", DATA.values(), ids=DATA)
def test_every_recipe_learns_every_task(recipe: Recipe, data: Bundle) -> None:
    predictor = fit(recipe, data)
    out = predictor(data.test.x, {})
    assert out.shape == (len(data.test), data.n_outputs)
    assert out.dtype == data.test.x.dtype
    assert (
        scores(predictor, data.test, data.task)["r2" if data.n_outputs == 1 else "accuracy"] > 0.8
    )


@pytest.mark.sample(2)
@pytest.mark.sample(20, others="slow")
@pytest.mark.parametrize("recipe", RECIPES, ids=lambda r: type(r).__name__)
@pytest.mark.parametrize("data", DATA.values(), ids=DATA)
def test_saved_and_loaded_give_the_same_bits(recipe: Recipe, data: Bundle, tmp_path: Path) -> None:
    predictor = fit(recipe, data)
    recipe.save(predictor, tmp_path)
    loaded = recipe.load(data, tmp_path)
    assert torch.equal(loaded(data.test.x, {}), predictor(data.test.x, {}))
    assert not any("pickle" in path.suffix or path.suffix == ".pkl" for path in tmp_path.iterdir())


@pytest.mark.sample(2, others="slow")
@pytest.mark.parametrize("recipe", RECIPES, ids=lambda r: type(r).__name__)
@pytest.mark.parametrize("data", DATA.values(), ids=DATA)
def test_rows_do_not_depend_on_their_batch(recipe: Recipe, data: Bundle) -> None:
    model = Explained(fit(recipe, data), PredictedLogit())
    inputs = data.evaluation(40, 16)
    parts = [model.outputs(inputs.take(rows)) for rows in torch.arange(40).split(7)]
    assert torch.equal(torch.cat(parts), model.outputs(inputs))


def test_binary_logits_are_the_score_split_in_two() -> None:
    from sklearn.linear_model import LogisticRegression

    data = two_classes()
    own = LogisticRegression(C=1 / 3.0, max_iter=10_000).fit(data.train.x.double(), data.train.y)
    z = torch.as_tensor(own.decision_function(data.test.x.double()))
    out = fit(Linear(l2=3.0), data)(data.test.x, {}).double()
    torch.testing.assert_close(out, torch.stack([-z / 2, z / 2], 1), atol=1e-5, rtol=1e-4)
    probabilities = torch.as_tensor(own.predict_proba(data.test.x.double()))
    torch.testing.assert_close(out.softmax(1), probabilities, atol=1e-5, rtol=1e-4)


def test_a_linear_regression_without_penalty_finds_the_plane() -> None:
    head = fit(Linear(l2=0.0), plane()).module.head
    torch.testing.assert_close(head.weight[0], torch.tensor([50.0, -20.0, 0.0]), atol=0.01, rtol=0)
    assert head.bias.item() == pytest.approx(1000, abs=0.01)


def test_only_linear_models_are_differentiable() -> None:
    predictor = fit(Linear(), plane())
    x = plane().test.x[:2].requires_grad_()
    (gradient,) = torch.autograd.grad(predictor(x, {}).sum(), x)
    assert torch.equal(gradient, predictor.module.head.weight.expand(2, -1))
    for recipe in (RandomForest(n_estimators=2), SVM(), Tree(), GradientBoosting(n_rounds=2)):
        black_box = fit(recipe, two_classes())
        assert not black_box.differentiable
        assert not recipe.differentiable
        assert black_box.module is None


def test_forest_outputs_are_log_votes_above_the_floor() -> None:
    data = two_classes()
    predictor = fit(RandomForest(n_estimators=20, floor=0.05), data)
    votes = torch.as_tensor(predictor.estimator.predict_proba(data.test.x.double().numpy()))
    out = predictor(data.test.x, {}).double()
    assert (votes == 0).any()
    assert out.min().item() == pytest.approx(math.log(0.05))
    # Two classes: 0.05 for each, and the votes share the other 0.9.
    torch.testing.assert_close(out.exp(), 0.05 + 0.9 * votes, atol=1e-6, rtol=0)
    torch.testing.assert_close(out.softmax(1), 0.05 + 0.9 * votes, atol=1e-6, rtol=0)


def test_a_floor_that_leaves_nothing_to_the_votes_is_refused() -> None:
    for recipe in (RandomForest(n_estimators=2, floor=0.5), Tree(floor=0.5), Tree(floor=-0.1)):
        with pytest.raises(ValueError, match="leaves nothing to the votes for 2 classes"):
            fit(recipe, two_classes())


def test_a_binary_svm_splits_its_decision_value_in_two() -> None:
    data = two_classes()
    predictor = fit(SVM(C=2.0), data)
    d = torch.as_tensor(predictor.estimator.decision_function(data.test.x.double().numpy())).float()
    assert predictor.estimator.C == 2.0
    assert torch.equal(predictor(data.test.x, {}), torch.stack([-d / 2, d / 2], 1))


def test_svm_outputs_of_several_classes_do_not_jump() -> None:
    data = three_classes()
    predictor = fit(SVM(), data)
    start, end = data.test.x[0], data.test.x[1]
    line = start + (end - start) * torch.linspace(0, 1, 2001)[:, None]
    steps = predictor(line, {}).diff(dim=0).abs().max()
    assert steps < 0.05  # votes of pairwise machines would jump by one


def test_the_seed_alone_decides_the_forest() -> None:
    data = two_classes()
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    first, again = (fit(RandomForest(n_estimators=5), data)(data.test.x, {}) for _ in range(2))
    assert torch.equal(first, again)
    other = fit(RandomForest(n_estimators=5), data, seed=1)(data.test.x, {})
    assert not torch.equal(first, other)
    assert (np.random.get_state()[1] == state).all()  # noqa: NPY002


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda r: type(r).__name__)
def test_data_that_cannot_be_fitted_is_refused(recipe: Recipe) -> None:
    missing = bundle(normal(20, 2), torch.arange(20) % 2, n_classes=3)
    with pytest.raises(Unsupported, match="it holds 2 of 3"):
        fit(recipe, missing)
    masked = bundle(normal(20, 2), torch.arange(20) % 2, n_classes=2, mask=torch.ones(20, 2))
    with pytest.raises(Unsupported, match=r"comes with \['mask'\]"):
        fit(recipe, masked)


@pytest.mark.slow
def test_a_file_with_foreign_types_is_refused(tmp_path: Path) -> None:
    import skops.io

    skops.io.dump({"estimator": Unsupported("never run")}, tmp_path / "estimator.skops")
    with pytest.raises(ValueError, match=r"holds \['xai_bench.types.inputs.Unsupported'\]"):
        SVM().load(two_classes(), tmp_path)


def test_only_its_own_predictor_is_saved(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected a SklearnPredictor"):
        SVM().save(fit(Linear(), two_classes()), tmp_path)
    with pytest.raises(ValueError, match="no torch module"):
        Linear().save(SklearnPredictor(None, lambda e, rows: rows, 2), tmp_path)


def test_the_oracle_is_the_generating_function(tmp_path: Path) -> None:
    double = nn.Linear(3, 1, bias=False)
    with torch.no_grad():
        double.weight.copy_(torch.tensor([[2.0, 0.0, 0.0]]))
    data = replace(plane(), oracle=double)
    predictor = fit(Oracle(), data)
    assert torch.equal(predictor(data.test.x, {})[:, 0], 2 * data.test.x[:, 0])
    Oracle().save(predictor, tmp_path)
    assert not list(tmp_path.iterdir())
    assert Oracle().load(data, tmp_path).module is double


def test_data_without_a_generating_function_has_no_oracle() -> None:
    with pytest.raises(Unsupported, match="needs a synthetic task"):
        fit(Oracle(), plane())
