"""Trees of other libraries: what is read is what they say, and its Shapley values are exact."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.support import library_worlds as worlds
from tests.support.library_worlds import TASKS, answers, fitted, frame, numbers, world
from tests.support.toy_worlds import World
from xai_bench.core import units
from xai_bench.core.baselines import Background, Marginal, Mean
from xai_bench.core.tree_structure import evaluate
from xai_bench.explainers.glassbox.treeshap import TreeSHAPInterventional, TreeSHAPPathDependent
from xai_bench.explainers.removal.shapley import ExactShapley
from xai_bench.explainers.wrapped.shap_library import ShapTree
from xai_bench.models.targets import PredictedProbability
from xai_bench.types import TreeStructure, Unsupported

PROBABILITY = PredictedProbability()


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def of(library: str, task: str, **settings: Any) -> Any:
    """A small model of a library, for classes or numbers."""
    module = pytest.importorskip(library)
    kind = "Regressor" if task == "value" else "Classifier"
    small: dict[str, Any] = {
        "xgboost": {"n_estimators": 6, "max_depth": 3},
        "lightgbm": {"n_estimators": 6, "num_leaves": 6, "verbose": -1, "n_jobs": 1},
        "catboost": {"iterations": 6, "depth": 3, "verbose": 0, "allow_writing_files": False},
    }[library]
    prefix = {"xgboost": "XGB", "lightgbm": "LGBM", "catboost": "CatBoost"}[library]
    return getattr(module, f"{prefix}{kind}")(**{**small, **settings})


def coded(table: Any) -> Any:
    """Texts and whole numbers as pandas categories."""
    return table.astype({"own": int}).astype({"job": "category", "own": "category"})


def texts(table: Any) -> Any:
    """As CatBoost takes it: no gaps in categories."""
    return table.fillna({"job": "none"}).astype({"own": str})


XGB_SETS = {"enable_categorical": True, "max_cat_to_onehot": 1}
MODELS: dict[str, tuple[str, Callable[[Any], Any], dict[str, Any]]] = {
    "xgboost, gaps": ("xgboost", numbers, {}),
    "xgboost, sets of categories": ("xgboost", coded, XGB_SETS),
    "xgboost, one category at a time": ("xgboost", coded, {"enable_categorical": True}),
    "xgboost, a mark for gaps": ("xgboost", numbers, {"missing": 1.0}),
    "xgboost, parallel trees": ("xgboost", numbers, {"num_parallel_tree": 2, "subsample": 0.5}),
    "lightgbm, gaps": ("lightgbm", numbers, {}),
    "lightgbm, categories": ("lightgbm", coded, {"min_data_per_group": 5, "cat_smooth": 1}),
    "lightgbm, zeros are gaps": ("lightgbm", numbers, {"zero_as_missing": True}),
    "lightgbm, gaps are zeros": ("lightgbm", numbers, {"use_missing": False}),
    "lightgbm, dart": ("lightgbm", numbers, {"boosting_type": "dart"}),
    "lightgbm, forest": (
        "lightgbm", numbers, {"boosting_type": "rf", "bagging_fraction": 0.7, "bagging_freq": 1},
    ),
    "catboost, gaps": ("catboost", numbers, {}),
    "catboost, gaps are large": ("catboost", numbers, {"nan_mode": "Max"}),
    "catboost, grown by leaf": ("catboost", numbers, {"grow_policy": "Lossguide"}),
    "catboost, categories": (
        "catboost", texts, {"cat_features": ["job", "own"], "max_ctr_complexity": 1},
    ),
}  # fmt: skip
models = pytest.mark.parametrize("name", MODELS)


def read(name: str, task: str, **options: Any) -> World:
    library, laid_out, settings = MODELS[name]
    table = laid_out(frame())
    return world(fitted(of(library, task, **settings), table, task), table, **options)


def near(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


@pytest.mark.sample(2)
@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
@models
def test_what_is_read_is_what_the_library_says(name: str, task: str) -> None:
    here = read(name, task, n=60)
    trees = here.model.structure()
    assert isinstance(trees, TreeStructure)
    near(evaluate(trees, here.inputs.x), here.model.outputs(here.inputs))


@pytest.mark.sample(3)
@pytest.mark.slow
@pytest.mark.parametrize("task", ["three", "value"])
@models
def test_interventional_values_are_those_of_all_coalitions(name: str, task: str) -> None:
    here = read(name, task)
    for baseline in (Background(), Marginal(3), Mean()):
        found = here.explain(TreeSHAPInterventional(baseline))
        expected = here.explain(ExactShapley(baseline))
        near(*(units.pool(values, here.inputs.units) for values in (found, expected)))


@pytest.mark.parametrize("name", ["xgboost, gaps", "lightgbm, categories", "catboost, categories"])
def test_columns_may_share_a_unit(name: str) -> None:
    here = read(name, "two", units=torch.tensor([0, 1, 1, 2, 0]))
    found = here.explain(TreeSHAPInterventional(Background()))
    expected = here.explain(ExactShapley(Background()))
    near(*(units.pool(values, here.inputs.units) for values in (found, expected)))


def theirs(name: str, task: str, here: World, *, by_rows: bool) -> Tensor:
    """`[n, columns]`, by the shap library, of the targets' outputs."""
    shap = pytest.importorskip("shap")
    library, laid_out, settings = MODELS[name]
    table = laid_out(frame())
    model = fitted(of(library, task, **settings), table, task)
    given = {"data": table[100:110]} if by_rows else {}
    game = "interventional" if by_rows else "tree_path_dependent"
    explainer = shap.TreeExplainer(model, feature_perturbation=game, **given)
    found = np.asarray(explainer.shap_values(table[:6], check_additivity=False))
    values = torch.from_numpy(found).double()
    if values.dim() == 3:
        return values[torch.arange(6), :, here.targets]
    # The margin of two classes is split in two.
    return values * (here.targets[:, None] - 0.5) if task == "two" else values


BY_PATH = [
    *(name for name in MODELS if "mark" not in name and "zeros" not in name),
    "lightgbm, zeros are gaps",
]


@pytest.mark.sample(2)
@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", BY_PATH)
def test_path_dependent_values_are_what_shap_says(name: str, task: str) -> None:
    here = read(name, task)
    # Of a forest, it gives those of the sum of the trees.
    factor = 1 / 6 if name == "lightgbm, forest" else 1.0
    found = units.pool(here.explain(TreeSHAPPathDependent()), here.inputs.units)
    near(found, factor * theirs(name, task, here, by_rows=False))


@pytest.mark.sample(9, others="slow")
@pytest.mark.parametrize(
    ("name", "task"),
    [
        *(("xgboost, gaps", task) for task in TASKS),
        *(("lightgbm, gaps", task) for task in TASKS),
        ("catboost, gaps", "two"),
        ("catboost, gaps", "value"),
    ],
)
def test_interventional_values_are_what_shap_says(name: str, task: str) -> None:
    """Of models without categories, which shap does not read in this game."""
    here = read(name, task)
    found = units.pool(here.explain(TreeSHAPInterventional(Background())), here.inputs.units)
    near(found, theirs(name, task, here, by_rows=True))


SKLEARN = {
    "DecisionTree": ({"max_depth": 3}, PROBABILITY),
    "ExtraTree": ({"max_depth": 3, "random_state": 0}, worlds.LOGIT),
    "RandomForest": ({"n_estimators": 5, "max_depth": 4, "random_state": 0}, PROBABILITY),
    "ExtraTrees": ({"n_estimators": 5, "max_depth": 4, "random_state": 0}, PROBABILITY),
    "GradientBoosting": ({"n_estimators": 6, "max_depth": 3}, worlds.LOGIT),
    "HistGradientBoosting": ({"max_iter": 6, "max_leaf_nodes": 6}, worlds.LOGIT),
}


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", SKLEARN)
def test_trees_of_scikit_learn_are_read(name: str, task: str) -> None:
    import sklearn.ensemble
    import sklearn.tree

    settings, target = SKLEARN[name]
    target = worlds.LOGIT if task == "value" else target
    kind = f"{name}{'Regressor' if task == 'value' else 'Classifier'}"
    make = getattr(sklearn.ensemble, kind, None) or getattr(sklearn.tree, kind)
    table = numbers(frame())
    table = np.nan_to_num(table, nan=2.0) if name.startswith("Gradient") else table
    here = world(fitted(make(**settings), table, task), table, target)
    trees = here.model.structure()
    assert isinstance(trees, TreeStructure)
    outputs = here.model.outputs(here.inputs)
    near(evaluate(trees, here.inputs.x), outputs.softmax(1) if target is PROBABILITY else outputs)
    found = here.explain(TreeSHAPInterventional(Background()))
    expected = here.explain(ExactShapley(Background()))
    near(*(units.pool(values, here.inputs.units) for values in (found, expected)))


def test_categories_of_histogram_boosting_are_read() -> None:
    from sklearn.ensemble import HistGradientBoostingClassifier

    table = coded(frame())[["age", "job", "own", "income"]]
    model = HistGradientBoostingClassifier(
        max_iter=8, max_leaf_nodes=6, categorical_features="from_dtype"
    )
    here = world(fitted(model, table, "three"), table)
    near(evaluate(here.model.structure(), here.inputs.x), here.model.outputs(here.inputs))
    found = here.explain(TreeSHAPInterventional(Background()))
    expected = here.explain(ExactShapley(Background()))
    near(*(units.pool(values, here.inputs.units) for values in (found, expected)))


@pytest.mark.parametrize("library", ["xgboost", "lightgbm"])
def test_only_the_rounds_up_to_the_best_count(library: str) -> None:
    table, task = numbers(frame()), "three"
    y = answers(task, frame())
    settings: dict[str, Any] = {"n_estimators": 60}
    rest: dict[str, Any] = {"verbose": False}
    if library == "xgboost":
        settings["early_stopping_rounds"] = 2
    else:
        rest = {"callbacks": [pytest.importorskip("lightgbm").early_stopping(2, verbose=False)]}
    model = of(library, task, **settings)
    rng = np.random.default_rng(1)
    model.fit(table, y, eval_set=[(table, rng.permutation(y))], **rest)
    here = world(model, table, n=30)
    trees = here.model.structure()
    assert isinstance(trees, TreeStructure)
    assert len(trees.roots) < 3 * 60
    near(evaluate(trees, here.inputs.x), here.model.outputs(here.inputs))


def test_boosters_are_read_like_their_wrappers() -> None:
    table = numbers(frame())
    for library in ("xgboost", "lightgbm"):
        model = fitted(of(library, "three"), table, "three")
        booster = model.get_booster() if library == "xgboost" else model.booster_
        ours, same = world(model, table), world(booster, table)
        assert torch.equal(ours.model.outputs(ours.inputs), same.model.outputs(same.inputs))
        assert same.model.predictor.class_names == ("0", "1", "2")


@pytest.mark.parametrize(
    ("library", "settings", "words"),
    [
        ("xgboost", {"booster": "dart"}, "booster=gbtree"),
        ("xgboost", {"booster": "gblinear"}, "booster=gbtree"),
        ("lightgbm", {"linear_tree": True}, "linear_tree=true"),
    ],
)
def test_boosters_that_are_no_sums_of_trees_are_declined(
    library: str, settings: dict[str, Any], words: str
) -> None:
    table = np.nan_to_num(numbers(frame()), nan=1.0)
    here = world(fitted(of(library, "value", **settings), table, "value"), table)
    assert here.model.outputs(here.inputs).isfinite().all()
    with pytest.raises(Unsupported, match=words):
        here.explain(TreeSHAPPathDependent())


@pytest.mark.parametrize(
    ("library", "settings"),
    [
        ("xgboost", {"objective": "count:poisson"}),
        ("lightgbm", {"objective": "poisson"}),
        ("lightgbm", {"objective": "regression", "reg_sqrt": True}),
        ("catboost", {"loss_function": "Poisson"}),
    ],
)
def test_a_link_is_declined_unless_the_margin_is_asked_for(
    library: str, settings: dict[str, Any]
) -> None:
    table = numbers(frame())
    model = fitted(of(library, "value", **settings), table, "value")
    here = world(model, table)
    theirs = torch.from_numpy(np.asarray(model.predict(table[:6]))).double()
    near(here.model.outputs(here.inputs)[:, 0], theirs)
    with pytest.raises(Unsupported, match="margin=true"):
        here.explain(TreeSHAPPathDependent())
    margin = world(model, table, reading=worlds.Reading(margin=True))
    near(evaluate(margin.model.structure(), margin.inputs.x), margin.model.outputs(margin.inputs))


def test_a_probability_is_no_sum_of_boosted_trees() -> None:
    here = read("xgboost, gaps", "two")
    other = world(here.model.predictor, numbers(frame()), PROBABILITY)
    with pytest.raises(Unsupported, match="use target=predicted_logit"):
        other.explain(TreeSHAPPathDependent())


def test_a_tree_without_a_question_is_a_constant() -> None:
    table = texts(frame())[["job", "own"]]
    model = of("catboost", "two", cat_features=["job", "own"]).fit(table, np.arange(len(table)) % 2)
    here = world(model, table)
    near(evaluate(here.model.structure(), here.inputs.x), here.model.outputs(here.inputs))


def test_a_question_about_two_columns_is_declined_unless_they_are_one_unit() -> None:
    """CatBoost counts combinations of categories."""
    rng = np.random.default_rng(0)
    table = texts(frame())[["job", "own"]]
    table["town"] = rng.choice(["north", "south", "west"], len(table))
    both = ((table.job == "cook") == (table.town == "north")).astype(int)
    settings = {"cat_features": ["job", "own", "town"], "max_ctr_complexity": 2}
    model = of("catboost", "two", **settings, one_hot_max_size=1).fit(table, both)
    here = world(model, table)
    near(evaluate(here.model.structure(), here.inputs.x), here.model.outputs(here.inputs))
    with pytest.raises(Unsupported, match="several units at once"):
        here.explain(TreeSHAPInterventional(Background()))
    grouped = world(model, table, units=torch.tensor([0, 0, 0]))
    found = grouped.explain(TreeSHAPInterventional(Background()))
    expected = grouped.explain(ExactShapley(Background()))
    near(*(units.pool(values, grouped.inputs.units) for values in (found, expected)))


@pytest.mark.parametrize("name", ["xgboost, gaps", "lightgbm, categories", "catboost, categories"])
def test_rows_do_not_depend_on_their_batch(name: str) -> None:
    here = read(name, "three", n=40)
    parts = [here.model.outputs(here.inputs.take(rows)) for rows in torch.arange(40).split(7)]
    assert torch.equal(torch.cat(parts), here.model.outputs(here.inputs))


def test_names_with_spaces_and_categories_that_a_model_has_not_seen() -> None:
    table = coded(frame()).rename(columns={"income": "yearly income"})
    whole = fitted(of("lightgbm", "two"), table, "two")
    here = world(whole, table)
    expected = torch.from_numpy(whole.predict_proba(table[:6])).double()
    near(here.model.outputs(here.inputs).softmax(1), expected)
    for library in ("lightgbm", "xgboost"):
        kept = coded(frame())
        few = kept[kept.job != "cook"].assign(job=kept.job.cat.remove_categories(["cook"]))
        settings = {"enable_categorical": True} if library == "xgboost" else {}
        model = of(library, "two", **settings).fit(few, np.arange(len(few)) % 2)
        with pytest.raises(ValueError, match="holds 'cook', which the model has not seen"):
            world(model, kept)


def test_texts_are_no_numbers() -> None:
    table = frame()[["age", "job"]]
    model = of("xgboost", "two").fit(np.zeros((300, 2)), np.arange(300) % 2)
    with pytest.raises(ValueError, match=r"type \(pandas category\) that it was fitted on"):
        world(model, table)


@pytest.mark.parametrize("library", ["xgboost", "lightgbm", "catboost"])
def test_a_model_that_has_not_been_fitted_says_so(library: str) -> None:
    with pytest.raises(ValueError, match="has not been fitted: call fit first"):
        world(of(library, "two"), numbers(frame()))


@pytest.mark.parametrize(
    ("library", "settings"),
    [
        ("lightgbm", {"objective": "multiclassova"}),
        ("catboost", {"loss_function": "MultiClassOneVsAll"}),
    ],
)
def test_probabilities_that_do_not_add_up_are_refused(
    library: str, settings: dict[str, Any]
) -> None:
    table = numbers(frame())
    model = fitted(of(library, "three", **settings), table, "three")
    with pytest.raises(ValueError, match="do not add up to 1"):
        world(model, table)


@pytest.mark.parametrize("name", ["xgboost, gaps", "lightgbm, zeros are gaps", "catboost, gaps"])
def test_shap_reads_the_same_trees(name: str) -> None:
    pytest.importorskip("shap")
    here = read(name, "three")
    found = units.pool(here.explain(ShapTree()), here.inputs.units)
    near(found, units.pool(here.explain(TreeSHAPPathDependent()), here.inputs.units))


def test_shap_is_given_no_questions_of_categories() -> None:
    pytest.importorskip("shap")
    with pytest.raises(Unsupported, match="use tree_shap_path_dependent"):
        read("xgboost, sets of categories", "two").explain(ShapTree())
