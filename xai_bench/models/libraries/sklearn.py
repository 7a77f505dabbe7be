"""Fitted estimators and pipelines of scikit-learn, and of whoever keeps to its conventions."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from xai_bench.data.labels import value_name
from xai_bench.models.libraries.sklearn_trees import trees_of
from xai_bench.models.libraries.table_model import (
    FLOOR,
    Floats,
    TableTrees,
    log_probabilities,
    split_in_two,
)
from xai_bench.types import Column

Reading = Literal["margins", "probabilities", "values"]
_SAME = 1e-9
"""How near the softmax of margins is to what `predict_proba` says, where they are one thing."""


@dataclass(frozen=True, eq=False)
class SklearnModel:
    """A classifier or a regressor.

    A classifier's outputs are its margins (`decision_function`) where their softmax is what
    `predict_proba` says, or where there is no `predict_proba`; a binary `z` as `[-z/2, z/2]`. Of
    all others they are the logarithms of the probabilities, each mixed with a `floor` so that none
    is minus infinity. Either way the softmax of the outputs is the probability.
    """

    estimator: Any
    class_names: tuple[str, ...]
    reading: Reading
    floor: float = FLOOR
    library: ClassVar[str] = "scikit-learn"
    takes: ClassVar[Literal["frame", "numbers"]] = "frame"
    categories: ClassVar[Mapping[int, Sequence[Any]]] = {}

    @property
    def columns(self) -> tuple[str, ...]:
        """The names that it was fitted on; empty where it was fitted on an array."""
        return tuple(str(name) for name in getattr(self.estimator, "feature_names_in_", ()))

    @property
    def n_columns(self) -> int:
        """How many columns it was fitted on; 0 where that is unknown."""
        return int(getattr(self.estimator, "n_features_in_", 0))

    @property
    def n_outputs(self) -> int:
        """One for each class; 1 for regression."""
        return len(self.class_names) or 1

    def outputs(self, table: Any) -> Floats:
        """`[N, C]`: logits of a classifier, values of a regressor."""
        if self.reading == "margins":
            return _margins(self.estimator, table)
        if self.reading == "probabilities":
            return log_probabilities(_probabilities(self.estimator, table), self.floor)
        values = np.asarray(self.estimator.predict(table), dtype=np.float64)
        return values if values.ndim == 2 else values[:, None]

    def trees(self, column: Column) -> TableTrees | None:
        """How outputs or probabilities come about; see `TableModel.trees`."""
        logits = self.reading == "margins"
        return trees_of(self.estimator, column, logits=logits, floor=self.floor)


def model_of(fitted: Any, table: Any, *, floor: float = FLOOR) -> SklearnModel:
    """Of a fitted estimator; `table` holds rows on which its ways of answering are compared.

    Raises ValueError for what is no classifier or regressor, has not been fitted, gives labels
    only, or several of them.
    """
    from sklearn.base import is_classifier, is_regressor

    require_fitted(fitted)
    if is_regressor(fitted):
        return SklearnModel(_on_one_thread(fitted), (), "values", floor)
    if not is_classifier(fitted):
        raise ValueError(
            f"{type(fitted).__name__} is neither a classifier nor a regressor; end the pipeline "
            "with one, or give a function from rows to numbers"
        )
    classes = getattr(fitted, "classes_", None)
    # With several labels, `classes_` is a list with an array for each.
    if classes is None or isinstance(classes, list):
        raise ValueError(
            f"{type(fitted).__name__} predicts several labels at once; give the one to explain, "
            "such as an element of estimators_"
        )
    names = tuple(value_name(name) for name in classes)
    estimator = _on_one_thread(fitted)
    return SklearnModel(estimator, names, _reading(estimator, table, len(names)), floor)


def is_estimator(model: Any) -> bool:
    """Whether it keeps to the conventions of scikit-learn."""
    return all(hasattr(model, name) for name in ("fit", "predict", "get_params"))


def require_fitted(estimator: Any) -> None:
    """Raise ValueError where it has not been fitted."""
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    try:
        check_is_fitted(estimator)
    except NotFittedError:
        raise ValueError(
            f"this {type(estimator).__name__} has not been fitted: call fit first"
        ) from None


def _reading(estimator: Any, table: Any, n_classes: int) -> Reading:
    if not hasattr(estimator, "predict_proba"):
        if not hasattr(estimator, "decision_function"):
            raise ValueError(
                f"{type(estimator).__name__} returns labels only, which move by jumps or not at "
                "all; give a classifier with predict_proba or decision_function (voting='soft')"
            )
        _require_same_columns_of(
            _margins(estimator, table), n_classes, "decision_function_shape='ovr'"
        )
        return "margins"
    probabilities = _probabilities(estimator, table)
    _require_same_columns_of(probabilities, n_classes, "one probability per class")
    if not hasattr(estimator, "decision_function"):
        return "probabilities"
    margins = _margins(estimator, table)
    alike = margins.shape == probabilities.shape
    # They differ for an SVC with `probability=True`, between whose answers lies Platt's scaling.
    same = alike and np.allclose(_softmax(margins), probabilities, rtol=0, atol=_SAME)
    return "margins" if same else "probabilities"


def _require_same_columns_of(values: Floats, n_classes: int, advice: str) -> None:
    if values.shape[1] != n_classes:
        raise ValueError(
            f"the classifier answers with {values.shape[1]} numbers for {n_classes} classes; fit "
            f"it so that it has one for each ({advice})"
        )


def _margins(estimator: Any, table: Any) -> Floats:
    values = np.asarray(estimator.decision_function(table), dtype=np.float64)
    return split_in_two(values) if values.ndim == 1 else values


def _probabilities(estimator: Any, table: Any) -> Floats:
    values = np.asarray(estimator.predict_proba(table), dtype=np.float64)
    if not np.allclose(values.sum(1), 1, atol=1e-4):
        raise ValueError(
            f"the probabilities of {type(estimator).__name__} do not add up to 1; explain one "
            "class by a function from rows to its probability"
        )
    return values


def _softmax(margins: Floats) -> Floats:
    powers = np.exp(margins - margins.max(1, keepdims=True))
    shares: Floats = powers / powers.sum(1, keepdims=True)
    return shares


def _on_one_thread(estimator: Any) -> Any:
    """The same, or a copy that asks for one thread: several add up their trees in any order."""
    named = estimator.get_params().items()
    jobs = [k for k, v in named if k.rpartition("__")[2] == "n_jobs" and v not in (None, 1)]
    if not jobs:
        return estimator
    try:
        own = copy.deepcopy(estimator)
    except (TypeError, AttributeError, pickle.PicklingError):
        return estimator  # it holds a lock, a file or a generator
    return own.set_params(**dict.fromkeys(jobs, 1))
