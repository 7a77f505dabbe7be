"""Models from files: on the columns of the data's file, and what does not fit."""

from __future__ import annotations

import os
import pickle
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
import scipy.special
import torch
from sklearn import show_versions
from sklearn.compose import make_column_transformer
from sklearn.ensemble import GradientBoostingClassifier, RandomForestRegressor
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from tests.support import toy_worlds
from tests.support.library_worlds import answers, frame
from tests.support.model_bundles import ignore
from xai_bench.core.baselines import Background
from xai_bench.core.tree_structure import evaluate
from xai_bench.data.bundle import Bundle
from xai_bench.data.tables.files import CustomTable
from xai_bench.explainers.glassbox.treeshap import TreeSHAPInterventional
from xai_bench.explainers.removal.shapley import ExactShapley
from xai_bench.models.base import Explained
from xai_bench.models.fitting.cache import key
from xai_bench.models.libraries.files import (
    CatBoostFile,
    LightGBMFile,
    ModelFile,
    OnnxFile,
    SklearnFile,
    XGBoostFile,
)
from xai_bench.models.targets import PredictedLogit
from xai_bench.models.training import scores

pytestmark = pytest.mark.slow  # as skops and their libraries are


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


TABLE = frame().fillna({"job": "none"}).assign(income=lambda f: f.income.fillna(5e4).round(2))
FEATURES = list(TABLE.columns)


def skops_io() -> Any:
    """Imported when it is asked for: it takes four seconds."""
    import skops.io

    return skops.io


def bundle(tmp_path: Path, task: str) -> tuple[Bundle, pd.DataFrame, Any]:
    """The table as a CSV that is read like any user's, and the same frame as pandas reads it."""
    path = tmp_path / "table.csv"
    y = answers(task, frame())
    y = np.round(100 * y, 2) if task == "value" else np.array(["no", "yes", "maybe"])[y]
    TABLE.assign(y=y).to_csv(path, index=False)
    data = CustomTable(str(path), "y", categorical=["own"]).load()
    return data, pd.read_csv(path)[FEATURES], y


def coded(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(own=table.own.astype(str)).astype({"job": "category", "own": "category"})


def pipeline(final: Any) -> Any:
    encoder = make_column_transformer(
        (OneHotEncoder(), ["job", "own"]), (StandardScaler(), ["age", "income", "rate"])
    )
    return make_pipeline(encoder, final)


def saved_pipeline(table: pd.DataFrame, y: Any, path: Path, final: Any) -> ModelFile:
    model = pipeline(final).fit(table.astype({"own": str}), y)
    skops_io().dump(model, path / "model.skops")
    return SklearnFile(str(path / "model.skops"))


def saved(library: str, table: pd.DataFrame, y: Any, path: Path) -> tuple[ModelFile, Any]:
    """A model of a library in its own file, and itself."""
    module = pytest.importorskip(library)
    kind = "Regressor" if y.dtype.kind == "f" else "Classifier"
    codes = y if kind == "Regressor" else np.unique(y, return_inverse=True)[1]
    if library == "xgboost":
        model = getattr(module, f"XGB{kind}")(n_estimators=5, enable_categorical=True)
        model.fit(coded(table), codes).save_model(path / "model.json")
        return XGBoostFile(str(path / "model.json")), model
    if library == "lightgbm":
        model = getattr(module, f"LGBM{kind}")(n_estimators=5, verbose=-1)
        model.fit(coded(table), codes).booster_.save_model(path / "model.txt")
        return LightGBMFile(str(path / "model.txt")), model
    settings = {"iterations": 5, "verbose": 0, "allow_writing_files": False}
    model = getattr(module, f"CatBoost{kind}")(cat_features=["job", "own"], **settings)
    model.fit(table.astype({"own": str}), y).save_model(path / "model.cbm")
    return CatBoostFile(str(path / "model.cbm")), model


def in_file_order(data: Bundle, table: pd.DataFrame) -> pd.DataFrame:
    """The rows of the test part, found by their only column without repetitions."""
    rate = data.test.x[:, data.test.units[0] == FEATURES.index("rate")][:, 0].double()
    element = data.elements[int((data.test.units[0] == FEATURES.index("rate")).nonzero()[0])]
    wanted = element.mean + element.scale * rate.numpy()
    near = np.abs(table.rate.to_numpy()[None] - wanted[:, None]).argmin(1)
    return table.iloc[near]


@pytest.mark.sample(4)
@pytest.mark.parametrize("task", ["two", "three", "value"])
@pytest.mark.parametrize("library", ["xgboost", "lightgbm", "catboost"])
def test_boosted_models_answer_on_the_file_s_own_columns(
    library: str, task: str, tmp_path: Path
) -> None:
    data, table, y = bundle(tmp_path, task)
    recipe, model = saved(library, table, y, tmp_path)
    found = recipe.train(data, seed=0, on_epoch=ignore).predictor
    outputs = found(data.test.x, {}).double()
    rows = in_file_order(data, table)
    rows = rows.astype({"own": str}) if library == "catboost" else coded(table).loc[rows.index]
    if task == "value":
        theirs = (np.asarray(model.predict(rows)) - data.y_element.mean) / data.y_element.scale
        expected = torch.from_numpy(theirs).double()
        torch.testing.assert_close(outputs[:, 0], expected, atol=1e-5, rtol=0)
        assert scores(found, data.test, data.task)["r2"] > 0.3
    else:
        theirs = torch.from_numpy(np.asarray(model.predict_proba(rows))).double()
        torch.testing.assert_close(outputs.softmax(1), theirs, atol=1e-5, rtol=0)


@pytest.mark.parametrize("library", ["xgboost", "lightgbm", "catboost"])
def test_their_trees_are_read_in_the_scale_of_the_data(library: str, tmp_path: Path) -> None:
    data, table, y = bundle(tmp_path, "value")
    recipe, _ = saved(library, table, y, tmp_path)
    predictor = recipe.load(data, tmp_path)
    inputs = data.evaluation(4, 10)
    model = Explained(predictor, PredictedLogit(), 1 << 14)
    torch.testing.assert_close(
        evaluate(model.structure(), inputs.x).float(), model.outputs(inputs), atol=1e-5, rtol=0
    )
    here = toy_worlds.World(model, inputs, torch.zeros(4, dtype=torch.long))
    torch.testing.assert_close(
        here.explain(TreeSHAPInterventional(Background())),
        here.explain(ExactShapley(Background())),
        atol=1e-5,
        rtol=0,
    )


@pytest.mark.sample(2)
@pytest.mark.parametrize(
    "final", [LogisticRegression(), GradientBoostingClassifier(n_estimators=5)], ids=str
)
def test_a_pipeline_in_a_skops_file(final: Any, tmp_path: Path) -> None:
    data, table, y = bundle(tmp_path, "three")
    recipe = saved_pipeline(table, y, tmp_path, final)
    found = recipe.train(data, seed=0, on_epoch=ignore).predictor
    model = skops_io().load(recipe.path, trusted=skops_io().get_untrusted_types(file=recipe.path))
    theirs = model.predict_proba(in_file_order(data, table).astype({"own": str}))
    probabilities = found(data.test.x, {}).double().softmax(1)
    torch.testing.assert_close(probabilities, torch.from_numpy(theirs), atol=1e-5, rtol=0)
    assert not recipe.trains


def test_a_model_of_networks_inputs_takes_x_as_it_is(tmp_path: Path) -> None:
    data, _, _ = bundle(tmp_path, "value")
    model = RandomForestRegressor(3, random_state=0).fit(data.train.x.numpy(), data.train.y.numpy())
    skops_io().dump(model, tmp_path / "model.skops")
    recipe = SklearnFile(str(tmp_path / "model.skops"), raw=False)
    found = recipe.train(data, seed=0, on_epoch=ignore).predictor(data.test.x, {})[:, 0]
    theirs = torch.from_numpy(model.predict(data.test.x.double().numpy()))
    torch.testing.assert_close(found.double(), theirs, atol=1e-6, rtol=0)
    with pytest.raises(ValueError, match=r"fitted on \d+ columns; a row of x has 5"):
        SklearnFile(recipe.path).train(data, seed=0, on_epoch=ignore)


def test_an_onnx_file(tmp_path: Path) -> None:
    skl2onnx = pytest.importorskip("skl2onnx")
    pytest.importorskip("onnxruntime")
    data, _, _ = bundle(tmp_path, "two")
    x = data.train.x.numpy()
    model = LogisticRegression().fit(x, data.train.y.numpy())
    options = {id(model): {"zipmap": False}}
    made = skl2onnx.to_onnx(model, x[:1], options=options)
    (tmp_path / "model.onnx").write_bytes(made.SerializeToString())
    recipe = OnnxFile(str(tmp_path / "model.onnx"), raw=False)
    found = recipe.train(data, seed=0, on_epoch=ignore).predictor
    theirs = torch.from_numpy(model.predict_proba(data.test.x.numpy())).float()
    torch.testing.assert_close(found(data.test.x, {}).softmax(1), theirs, atol=1e-5, rtol=0)


def test_the_address_of_a_model_holds_its_file(tmp_path: Path) -> None:
    data, table, y = bundle(tmp_path, "two")
    recipe = saved_pipeline(table, y, tmp_path, LogisticRegression())
    first = key(recipe, {}, data, seed=0)
    assert key(recipe, {}, data, seed=0) == first
    saved_pipeline(table, y, tmp_path, LogisticRegression(C=0.1))
    assert key(recipe, {}, data, seed=0) != first


RAN: list[int] = []


class Sly:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> tuple[Callable[[int], None], tuple[int]]:
        return RAN.append, (1,)


@pytest.mark.parametrize("function", [os.system, np.load, scipy.special.seterr, show_versions])
def test_a_function_in_a_skops_file_is_refused(function: Any, tmp_path: Path) -> None:
    """It would be called with the rows, or with what the file says."""
    data, _, _ = bundle(tmp_path, "two")
    skops_io().dump(FunctionTransformer(function), tmp_path / "model.skops")
    with pytest.raises(ValueError, match="holds types from beyond scikit-learn"):
        SklearnFile(str(tmp_path / "model.skops")).train(data, seed=0, on_epoch=ignore)


@pytest.mark.parametrize("suffix", [".joblib", ".pkl", ".pickle"])
def test_a_pickle_is_read_with_consent_only(suffix: str, tmp_path: Path) -> None:
    data, table, y = bundle(tmp_path, "two")
    path = tmp_path / f"model{suffix}"
    path.write_bytes(pickle.dumps(Sly()))
    with pytest.raises(ValueError, match=r"(?s)runs whatever code .*allow_pickle_to_run_code=true"):
        SklearnFile(str(path)).train(data, seed=0, on_epoch=ignore)
    assert RAN == []
    model = pipeline(LogisticRegression()).fit(table.astype({"own": str}), y)
    joblib.dump(model, path)
    consented = SklearnFile(str(path), allow_pickle_to_run_code=True)
    found = consented.train(data, seed=0, on_epoch=ignore).predictor(data.test.x, {})
    other = saved_pipeline(table, y, tmp_path, LogisticRegression())
    assert torch.equal(found, other.train(data, seed=0, on_epoch=ignore).predictor(data.test.x, {}))


def without_a_class(path: Path) -> Path:
    """A pickle of a class that is not here."""
    path.write_bytes(b"cnot_a_package\nModel\n.")
    return path


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda p: SklearnFile(str(p / "nothing.skops")), "model.path .* is not a file"),
        (lambda p: SklearnFile(str(p / "table.csv")), "is no skops file"),
        (
            lambda p: SklearnFile(str(without_a_class(p / "a.pkl")), allow_pickle_to_run_code=True),
            "cannot be unpickled here",
        ),
        (lambda p: XGBoostFile(str(p / "table.csv")), "is no model that XGBoost .* can read"),
        (lambda p: LightGBMFile(str(p / "table.csv")), "is no model that LightGBM .* can read"),
        (lambda p: CatBoostFile(str(p / "table.csv")), "is no model that CatBoost .* can read"),
        (lambda p: OnnxFile(str(p / "table.csv")), "onnxruntime cannot read this ONNX model"),
    ],
)
def test_files_that_hold_no_model_are_told_in_a_sentence(
    make: Any, words: str, tmp_path: Path
) -> None:
    for name in ("xgboost", "lightgbm", "catboost", "onnxruntime"):
        pytest.importorskip(name)
    data, _, _ = bundle(tmp_path, "two")
    with pytest.raises(ValueError, match=words):
        make(tmp_path).train(data, seed=0, on_epoch=ignore)


def test_types_of_other_packages_are_named(tmp_path: Path) -> None:
    lightgbm = pytest.importorskip("lightgbm")
    data, table, y = bundle(tmp_path, "two")
    recipe = saved_pipeline(table, y, tmp_path, lightgbm.LGBMClassifier(n_estimators=2, verbose=-1))
    with pytest.raises(ValueError, match=r"set 'model.trust=\[.*\]' 'allow=\[.*\]'") as refused:
        recipe.train(data, seed=0, on_epoch=ignore)
    named = str(refused.value).partition("model.trust=[")[2].partition("]")[0].split(",")
    assert "lightgbm.sklearn.LGBMClassifier" in named
    with pytest.raises(ValueError, match=r"model\.trust"):
        SklearnFile(recipe.path, trust=["lightgbm"]).train(data, seed=0, on_epoch=ignore)
    trusted = SklearnFile(recipe.path, trust=named)
    assert trusted.train(data, seed=0, on_epoch=ignore).predictor.n_outputs == 2


@pytest.mark.parametrize(
    ("task", "words"),
    [
        ("three", "the model predicts 2 classes, and the target of the data is 3 classes"),
        ("value", "the model predicts 2 classes, and the target of the data is a number"),
    ],
)
def test_other_classes_are_told_in_a_sentence(task: str, words: str, tmp_path: Path) -> None:
    _, table, y = bundle(tmp_path, "two")
    recipe = saved_pipeline(table, y, tmp_path, LogisticRegression())
    data, _, _ = bundle(tmp_path, task)
    with pytest.raises(ValueError, match=words):
        recipe.train(data, seed=0, on_epoch=ignore)


def test_classes_of_other_names_and_other_columns_are_told_in_a_sentence(tmp_path: Path) -> None:
    data, table, y = bundle(tmp_path, "two")
    renamed = saved_pipeline(
        table, np.where(y == "no", "bad", "good"), tmp_path, LogisticRegression()
    )
    with pytest.raises(ValueError, match=r"knows the classes bad, good, and the data have no, yes"):
        renamed.train(data, seed=0, on_epoch=ignore)
    model = pipeline(LogisticRegression()).fit(table.assign(town="x").astype({"own": str}), y)
    skops_io().dump(model, tmp_path / "model.skops")
    with pytest.raises(
        ValueError, match="lacks column 'town'; the model was fitted on age, income"
    ):
        renamed.train(data, seed=0, on_epoch=ignore)
