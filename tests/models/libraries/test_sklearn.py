"""Estimators and pipelines: what their outputs are, and that a column is removed before it is
encoded.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sklearn
import torch
from sklearn.compose import make_column_transformer
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    VotingClassifier,
)
from sklearn.impute import KNNImputer, SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, OrdinalEncoder, StandardScaler
from sklearn.svm import SVC, LinearSVC
from sklearn.tree import DecisionTreeClassifier

from tests.support.library_worlds import answers, fitted, frame, numbers, world
from xai_bench.core import units
from xai_bench.core.baselines import Background
from xai_bench.core.tree_structure import evaluate
from xai_bench.explainers.glassbox.treeshap import TreeSHAPInterventional
from xai_bench.explainers.removal.shapley import ExactShapley
from xai_bench.models.libraries.recognise import encoding_of, predictor_of
from xai_bench.models.targets import PredictedLogit, PredictedProbability
from xai_bench.types import Unsupported

PROBABILITY = PredictedProbability()
FRAME = frame()
FILLED = np.nan_to_num(numbers(FRAME), nan=1.0)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def encoder() -> Any:
    return make_column_transformer(
        (make_pipeline(SimpleImputer(), StandardScaler()), ["age", "income"]),
        (OneHotEncoder(handle_unknown="ignore", drop="if_binary"), ["job", "own"]),
        ("passthrough", ["rate"]),
    )


CLASSIFIERS = {
    "logistic": LogisticRegression(),
    "logistic, one against the rest": OneVsRestClassifier(LogisticRegression()),
    "neighbours": KNeighborsClassifier(5),
    "forest": RandomForestClassifier(10, random_state=0),
    "boosting": GradientBoostingClassifier(n_estimators=5),
    "exponential loss": GradientBoostingClassifier(n_estimators=5, loss="exponential"),
    "histogram boosting": HistGradientBoostingClassifier(max_iter=5),
}


@pytest.mark.sample(2, others="slow")
@pytest.mark.parametrize("task", ["two", "three"])
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_the_softmax_of_the_outputs_is_the_probability(name: str, task: str) -> None:
    if name == "exponential loss" and task == "three":
        pytest.skip("it knows two classes only")
    model = fitted(sklearn.clone(CLASSIFIERS[name]), FILLED, task)
    here = world(model, FILLED, PROBABILITY)
    found = here.model.outputs(here.inputs)
    assert found.isfinite().all()
    expected = torch.from_numpy(model.predict_proba(FILLED[:6]))
    torch.testing.assert_close(found.softmax(1), expected, rtol=0, atol=1e-11)
    explained = here.model.target_output(here.inputs, here.targets)
    torch.testing.assert_close(explained, expected.amax(1), rtol=0, atol=1e-11)
    assert here.model.predictor.class_names == tuple(str(c) for c in model.classes_)


@pytest.mark.sample(2, others="slow")
@pytest.mark.parametrize(
    ("name", "reading"),
    [
        ("logistic", "margins"),
        ("logistic, one against the rest", "probabilities"),
        ("forest", "probabilities"),
        ("boosting", "margins"),
        ("exponential loss", "probabilities"),
        ("histogram boosting", "margins"),
    ],
)
def test_outputs_are_margins_where_their_softmax_is_the_probability(
    name: str, reading: str
) -> None:
    task = "two" if name == "exponential loss" else "three"
    model = fitted(sklearn.clone(CLASSIFIERS[name]), FILLED, task)
    assert world(model, FILLED).model.predictor.model.reading == reading


def test_a_class_without_a_vote_has_a_finite_logit() -> None:
    model = fitted(DecisionTreeClassifier(), FILLED, "three")
    here = world(model, FILLED)
    found = here.model.outputs(here.inputs)
    assert found.min().item() == pytest.approx(np.log(1e-12))
    assert found.max().item() == pytest.approx(0, abs=1e-11)


@pytest.mark.parametrize("task", ["two", "three"])
def test_decision_values_stand_in_for_logits(task: str) -> None:
    model = fitted(LinearSVC(), FILLED, task)
    found = world(model, FILLED).model
    outputs = found.predictor(torch.from_numpy(FILLED[:6]), {})
    decisions = torch.from_numpy(model.decision_function(FILLED[:6]))
    if task == "two":
        decisions = torch.stack([-decisions / 2, decisions / 2], 1)
    torch.testing.assert_close(outputs, decisions, rtol=0, atol=1e-12)


def test_a_regressor_answers_with_its_prediction() -> None:
    model = fitted(Ridge(), FILLED, "value")
    here = world(model, FILLED)
    expected = torch.from_numpy(model.predict(FILLED[:6]))[:, None]
    torch.testing.assert_close(here.model.outputs(here.inputs), expected, rtol=0, atol=1e-12)
    assert here.model.predictor.task == "regression"


@pytest.mark.sample(2)
@pytest.mark.slow
@pytest.mark.parametrize("task", ["two", "three"])
def test_a_pipeline_takes_the_frame_and_a_unit_is_its_column(task: str) -> None:
    model = fitted(make_pipeline(encoder(), LogisticRegression()), FRAME, task)
    here = world(model, FRAME, PROBABILITY)
    expected = torch.from_numpy(model.predict_proba(FRAME[:6]))
    torch.testing.assert_close(
        here.model.outputs(here.inputs).softmax(1), expected, rtol=0, atol=1e-11
    )
    assert units.width(here.inputs.units) == 5
    by_hand = whole_columns_replaced(model, here.targets.tolist())
    found = units.pool(here.explain(ExactShapley(Background())), here.inputs.units)
    torch.testing.assert_close(found, by_hand, rtol=0, atol=1e-9)


def whole_columns_replaced(model: Any, targets: list[int]) -> torch.Tensor:
    """`[6, 5]`: Shapley values from frames in which the raw columns are those of other rows."""
    from xai_bench.core import cooperative_games

    kept = cooperative_games.all_coalitions(5)
    rows = []
    for number, target in enumerate(targets):
        table = []
        for coalition in kept.tolist():
            mixed = FRAME[100:110].copy()
            for place, stays in enumerate(coalition):
                if stays:
                    mixed[mixed.columns[place]] = [FRAME.iloc[number, place]] * 10
            mixed = mixed.astype(FRAME.dtypes)
            table.append(model.predict_proba(mixed)[:, target].mean())
        rows.append(table)
    return cooperative_games.shapley_values(torch.tensor(rows, dtype=torch.float64))


FINALS: dict[str, Any] = {
    "forest": (RandomForestClassifier(6, max_depth=4, random_state=0, n_jobs=2), PROBABILITY),
    "boosting": (GradientBoostingClassifier(n_estimators=5), PredictedLogit()),
    "histogram boosting": (HistGradientBoostingClassifier(max_iter=5), PredictedLogit()),
}


@pytest.mark.sample(2, others="slow")
@pytest.mark.parametrize("name", FINALS)
def test_trees_at_the_end_of_a_pipeline_are_read_by_column(name: str) -> None:
    final, target = FINALS[name]
    model = fitted(make_pipeline(encoder(), sklearn.clone(final)), FRAME, "three")
    here = world(model, FRAME, target)
    trees, outputs = here.model.structure(), here.model.outputs(here.inputs)
    expected = outputs.softmax(1) if target is PROBABILITY else outputs
    torch.testing.assert_close(evaluate(trees, here.inputs.x), expected, rtol=0, atol=1e-9)
    found = here.explain(TreeSHAPInterventional(Background()))
    exact = here.explain(ExactShapley(Background()))
    pooled = [units.pool(values, here.inputs.units) for values in (found, exact)]
    torch.testing.assert_close(*pooled, rtol=0, atol=1e-9)


@pytest.mark.sample(4, others="slow")
@pytest.mark.parametrize("library", ["xgboost", "lightgbm", "catboost"])
def test_a_pipeline_may_end_with_any_library(library: str) -> None:
    module = pytest.importorskip(library)
    final = {
        "xgboost": lambda: module.XGBClassifier(n_estimators=4, max_depth=3),
        "lightgbm": lambda: module.LGBMClassifier(n_estimators=4, num_leaves=5, verbose=-1),
        "catboost": lambda: module.CatBoostClassifier(
            iterations=4, depth=3, verbose=0, allow_writing_files=False
        ),
    }[library]()
    model = fitted(make_pipeline(encoder(), final), FRAME, "three")
    here = world(model, FRAME)
    expected = torch.from_numpy(model.predict_proba(FRAME[:6])).double()
    found = here.model.outputs(here.inputs)
    torch.testing.assert_close(found.softmax(1), expected, rtol=0, atol=1e-6)
    exact = here.explain(ExactShapley(Background()))
    ours = here.explain(TreeSHAPInterventional(Background()))
    pooled = [units.pool(values, here.inputs.units) for values in (ours, exact)]
    torch.testing.assert_close(*pooled, rtol=0, atol=1e-6)


def test_a_transformer_that_mixes_columns_is_declined_by_treeshap_only() -> None:
    mixing = make_pipeline(KNNImputer(), DecisionTreeClassifier(max_depth=3))
    table = FRAME[["age", "income", "rate"]]
    here = world(fitted(mixing, table, "two"), table, PROBABILITY)
    with pytest.raises(Unsupported, match="several units at once"):
        here.explain(TreeSHAPInterventional(Background()))
    assert here.explain(ExactShapley(Background())).isfinite().all()


@pytest.mark.parametrize(
    ("columns", "of_numbers"),
    [
        (slice("age", "income"), slice(0, 2)),  # of names, the last one is inside
        (slice("income", None), slice(1, None)),
        (slice(None, "income"), slice(2)),
    ],
)
def test_columns_of_a_part_may_be_a_slice_of_names(columns: slice, of_numbers: slice) -> None:
    table = FRAME[["age", "income", "rate"]]
    maps = []
    for part in (columns, of_numbers):
        parts = make_column_transformer((StandardScaler(), part), remainder="passthrough")
        tree = DecisionTreeClassifier(max_depth=3, random_state=0)
        here = world(fitted(make_pipeline(parts, tree), table, "two"), table, PROBABILITY)
        maps.append(here.explain(TreeSHAPInterventional(Background())))
        torch.testing.assert_close(maps[-1], here.explain(ExactShapley(Background())))
    assert torch.equal(*maps)


def test_numbers_that_an_encoder_takes_are_categories() -> None:
    table = FRAME[["age", "rate"]]
    coded = make_column_transformer((OrdinalEncoder(), ["age"]), remainder="passthrough")
    model = fitted(make_pipeline(coded, LogisticRegression()), table, "two")
    encoding = encoding_of(model, table)
    assert encoding.units.bincount().tolist() == [table.age.nunique(), 1]
    plain = fitted(make_pipeline(StandardScaler(), LogisticRegression()), table, "two")
    assert encoding_of(plain, table).units.tolist() == [0, 1]


def test_columns_of_dates_reach_the_pipeline_as_dates() -> None:
    table = FRAME[["age"]].assign(
        since=pd.Timestamp("2020-01-01") + pd.to_timedelta(FRAME["age"] * 30, unit="D")
    )

    def year_of(part: Any) -> Any:
        return part.assign(since=part.since.dt.year)

    model = fitted(make_pipeline(FunctionTransformer(year_of), Ridge()), table, "value")
    here = world(model, table)
    expected = torch.from_numpy(model.predict(table[:6]))[:, None]
    torch.testing.assert_close(here.model.outputs(here.inputs), expected)


def test_the_best_model_of_a_search_and_bound_methods_are_models() -> None:
    search = GridSearchCV(LogisticRegression(), {"C": [0.1, 1.0]}, cv=2)
    model = fitted(search, FILLED, "two")
    x = torch.from_numpy(FILLED[:20])
    whole = predictor_of(model, x)
    for same in (model.best_estimator_, model.predict_proba, model.best_estimator_.predict):
        assert torch.equal(predictor_of(same, x)(x, {}), whole(x, {}))


def test_the_model_of_the_user_stays_as_it_is() -> None:
    model = fitted(RandomForestClassifier(4, n_jobs=2), FILLED, "two")
    predictor = predictor_of(model, torch.from_numpy(FILLED[:20]))
    assert model.n_jobs == 2
    assert predictor.model.estimator.n_jobs == 1


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (lambda: LogisticRegression(), "this LogisticRegression has not been fitted"),
        (
            lambda: make_pipeline(StandardScaler(), LogisticRegression()),
            "has not been fitted: call fit first",
        ),
        (
            lambda: fitted(VotingClassifier([("a", LogisticRegression())]), FILLED, "two"),
            "VotingClassifier returns labels only",
        ),
        (
            lambda: StandardScaler().fit(FILLED),
            "a model predicts; found a StandardScaler",
        ),
        (
            lambda: fitted(SVC(decision_function_shape="ovo"), FILLED, "four"),
            "answers with 6 numbers for 4 classes",
        ),
        (
            lambda: RandomForestClassifier(2).fit(FILLED, FILLED[:, 3:5] > 0),
            "predicts several labels at once",
        ),
        (lambda: 3, "a model predicts; found a int"),
        (
            lambda: fitted(LogisticRegression(), FILLED[:, :3], "two"),
            "fitted on 3 columns; a row of x has 5",
        ),
    ],
)
def test_what_does_not_fit_is_told_in_a_sentence(model: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        predictor_of(model(), torch.from_numpy(FILLED[:20]))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda f: f.drop(columns="job"), "lacks column 'job'; the model was fitted on age, inc"),
        (lambda f: f.assign(extra=1.0), "a column 'extra' too much"),
        (lambda f: f[["job", "age", "income", "own", "rate"]], "'job' is where 'age' should be"),
    ],
)
def test_a_table_of_other_columns_is_told_in_a_sentence(change: Any, words: str) -> None:
    model = fitted(make_pipeline(encoder(), LogisticRegression()), FRAME, "two")
    table = change(FRAME)
    encoding = encoding_of(model, table)
    with pytest.raises(ValueError, match=words):
        predictor_of(model, encoding.encode(table)[:20], encoding=encoding)


def test_answers_of_four_classes() -> None:
    assert set(answers("four", FRAME).tolist()) == {0, 1, 2, 3}
