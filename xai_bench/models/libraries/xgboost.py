"""Fitted models of XGBoost, and their trees as its JSON has them; the one file that imports it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from xai_bench.data.labels import value_name
from xai_bench.models.libraries.table_model import (
    Floats,
    TableTrees,
    loadings,
    not_installed,
    outputs_of,
    require_identity,
    require_logits,
)
from xai_bench.models.tree_nodes import Nodes, stacked
from xai_bench.types import Column, Unsupported

_IDENTITIES = (
    "reg:squarederror", "reg:absoluteerror", "reg:quantileerror", "reg:pseudohubererror",
    "reg:squaredlogerror", "rank:",
)  # fmt: skip
"""Objectives whose prediction is the sum of the trees."""

_LINKS = {
    "logit": ("binary:", "reg:logistic"),
    "log": ("count:poisson", "reg:gamma", "reg:tweedie", "survival:"),
}
"""How a base score becomes a margin, by the start of the objective's name."""


@dataclass(frozen=True, eq=False)
class XGBoostModel:
    """A booster, or the one inside of a scikit-learn style wrapper.

    A classifier's outputs are its margins: those of several classes as they are, a binary `z` as
    `[-z/2, z/2]`. A regressor's are its predictions; with `margin`, the sums of its trees.

    Attributes:
        class_names: empty for regression.
        rounds: the first rounds that count, 0 for all: those up to the best, after early stopping.
        missing: the value that stands for a missing one beside NaN.
    """

    booster: Any
    class_names: tuple[str, ...]
    rounds: int = 0
    missing: float = np.nan
    margin: bool = False
    library: ClassVar[str] = "XGBoost"
    takes: ClassVar[Literal["frame", "numbers"]] = "numbers"

    @property
    def columns(self) -> tuple[str, ...]:
        """The names that it was fitted on; empty where it was fitted on an array."""
        return tuple(self.booster.feature_names or ())

    @property
    def n_columns(self) -> int:
        """How many columns it was fitted on; 0 where that is unknown."""
        return int(self.booster.num_features())

    @property
    def n_outputs(self) -> int:
        """One for each class; 1 for regression."""
        return len(self.class_names) or 1

    @cached_property
    def categories(self) -> Mapping[int, Sequence[Any]]:
        """Column number -> its categories, in the order of their codes."""
        # Older versions store no categories with the model.
        if not hasattr(self.booster, "get_categories"):
            return {}
        categories = self.booster.get_categories(export_to_arrow=True)
        named = [] if categories is None else categories.to_arrow()
        return {k: c.to_pylist() for k, (_, c) in enumerate(named) if c is not None}

    def outputs(self, table: Floats) -> Floats:
        """`[N, C]`: logits of a classifier, values of a regressor."""
        raw = bool(self.class_names) or self.margin
        # A range of (0, 0) means all rounds.
        prediction = self.booster.predict(
            self._matrix(table), output_margin=raw, iteration_range=(0, self.rounds)
        )
        values = np.asarray(prediction, dtype=np.float64)
        return outputs_of(values, binary=len(self.class_names) == 2)

    def trees(self, column: Column) -> TableTrees:
        """How outputs or probabilities come about; see `TableModel.trees`."""
        if self.class_names:
            require_logits(column, self.library)
        elif not self.margin:
            require_identity(self.library, self._objective, _IDENTITIES)
        booster = self._model["gradient_booster"]
        if booster["name"] != "gbtree":
            raise Unsupported(
                f"TreeSHAP reads boosters of trees (booster=gbtree); this one is a "
                f"{booster['name']}: ask an explainer that needs no trees, such as kernel_shap"
            )
        loading = torch.tensor(
            loadings(self.n_outputs, binary=len(self.class_names) == 2), dtype=torch.float64
        )
        ends = booster["model"]["iteration_indptr"]
        n_trees = ends[self.rounds] if self.rounds else ends[-1]
        kept = zip(booster["model"]["trees"], booster["model"]["tree_info"], strict=True)
        nodes = [_nodes_of(tree, loading[which]) for tree, which in list(kept)[:n_trees]]
        base = self._base() @ loading
        return TableTrees(replace(stacked(nodes), base=base), self._with_gaps)

    def _matrix(self, table: Floats) -> Any:
        return library().DMatrix(
            table,
            missing=self.missing,
            feature_names=self.booster.feature_names,
            feature_types=self.booster.feature_types,
            enable_categorical=True,
        )

    def _with_gaps(self, table: Floats) -> Floats:
        # XGBoost compares in single precision.
        return np.where(table.astype(np.float32) == np.float32(self.missing), np.nan, table)

    @cached_property
    def _model(self) -> Mapping[str, Any]:
        learner: Mapping[str, Any] = json.loads(bytes(self.booster.save_raw("json")))["learner"]
        return learner

    @property
    def _objective(self) -> str:
        return str(self._model["objective"]["name"])

    def _base(self) -> Tensor:
        """`[trees of a round]`: the margin that every row starts from."""
        base_score = json.loads(self._model["learner_model_param"]["base_score"])
        # Kept in single precision, and written as decimals.
        score = torch.tensor(base_score, dtype=torch.float64).float().double().flatten()
        link = next((n for n, w in _LINKS.items() if self._objective.startswith(w)), "")
        margin = {"logit": score.logit, "log": score.log}.get(link, score.clone)()
        return margin.expand(1 if len(self.class_names) == 2 else self.n_outputs)


def _nodes_of(tree: Mapping[str, Any], loading: Tensor) -> Nodes:
    """One tree; `loading [C]`: what 1 adds to the outputs."""
    if int(tree["tree_param"]["size_leaf_vector"]) > 1:
        raise Unsupported("TreeSHAP reads XGBoost trees whose leaves hold one value each")
    left, right = (torch.tensor(tree[f"{side}_children"]) for side in ("left", "right"))
    condition = np.array(tree["split_conditions"], dtype=np.float32)
    # Left is what lies below, in single precision: what is not above the number before.
    before = np.nextafter(condition, np.float32(-np.inf)).astype(np.float64)
    value = torch.where(left < 0, torch.from_numpy(condition.astype(np.float64)), 0.0)
    category_set, left_categories = _sets(tree, len(left))
    return Nodes(
        element=torch.tensor(tree["split_indices"]),
        threshold=torch.from_numpy(before),
        left=left,
        right=right,
        cover=torch.tensor(tree["sum_hessian"], dtype=torch.float64),
        value=value[:, None] * loading,
        missing_left=torch.tensor(tree["default_left"]) > 0,
        category_set=category_set,
        left_categories=left_categories,
    )


def _sets(tree: Mapping[str, Any], n_nodes: int) -> tuple[Tensor | None, Tensor | None]:
    """The categories that are listed go right, all others left."""
    nodes, sizes = tree["categories_nodes"], tree["categories_sizes"]
    if not nodes:
        return None, None
    rows = torch.full((n_nodes,), -1)
    rows[nodes] = torch.arange(len(nodes))
    # One column more than there are codes, for all codes beyond: they are in no list.
    left = torch.ones(len(nodes), max(tree["categories"]) + 2, dtype=torch.bool)
    starts = tree["categories_segments"]
    for row, (start, size) in enumerate(zip(starts, sizes, strict=True)):
        left[row, tree["categories"][start : start + size]] = False
    return rows, left


def read(path: Path) -> Any:
    """The booster of a file that XGBoost saved (JSON or UBJSON). Raises ValueError."""
    booster = library().Booster()
    try:
        booster.load_model(path)
    except library().core.XGBoostError as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(
            f"{path} is no model that XGBoost {library().__version__} can read ({reason}); "
            "write it with model.save_model('model.json')"
        ) from error
    return booster


def model_of(model: Any, *, margin: bool = False) -> XGBoostModel:
    """A booster or a wrapper that has been fitted. Raises ValueError where it has not."""
    if not hasattr(model, "get_booster"):
        return XGBoostModel(model, _classes(model), margin=margin)
    if not model.__sklearn_is_fitted__():
        raise ValueError(f"this {type(model).__name__} has not been fitted: call fit first")
    booster = model.get_booster()
    classes = getattr(model, "classes_", None)
    names = _classes(booster) if classes is None else tuple(value_name(name) for name in classes)
    # Only after early stopping is there a best round, and predictions end with it.
    stopped = getattr(model, "early_stopping_rounds", None) is not None
    rounds = model.best_iteration + 1 if stopped else 0
    return XGBoostModel(booster, names, rounds, model.missing, margin)


def _classes(booster: Any) -> tuple[str, ...]:
    """Numbers for names, for a booster knows no others."""
    learner = json.loads(booster.save_config())["learner"]
    name = learner["objective"]["name"]
    if name.startswith("binary:"):
        return ("0", "1")
    n_classes = int(learner["learner_model_param"]["num_class"]) if name[:6] == "multi:" else 0
    return tuple(str(number) for number in range(n_classes))


def library() -> Any:
    try:
        import xgboost
    except ImportError:
        raise not_installed("XGBoost", "xgboost") from None
    return xgboost
