"""Fitted models of CatBoost, and their trees as its JSON has them; the one file that imports it."""

from __future__ import annotations

import json
import tempfile
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
    Bools,
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

_EXPONENTS = ("Poisson", "Tweedie", "LogLinQuantile")
"""Losses whose prediction is the exponential of the sum of the trees."""
_SEPARATE = ("MultiClassOneVsAll", "MultiLogloss", "MultiCrossEntropy")
"""Losses that give each class a probability of its own."""


@dataclass(frozen=True, eq=False)
class CatBoostModel:
    """A fitted `CatBoost`, `CatBoostClassifier`, `CatBoostRegressor` or `CatBoostRanker`.

    A classifier's outputs are its margins: those of several classes as they are, a binary `z` as
    `[-z/2, z/2]`. A regressor's are its predictions; with `margin`, the sums of its trees.
    """

    model: Any
    class_names: tuple[str, ...]
    margin: bool = False
    library: ClassVar[str] = "CatBoost"
    categories: ClassVar[Mapping[int, Sequence[Any]]] = {}

    @property
    def takes(self) -> Literal["frame", "numbers"]:
        """A frame, or numbers with codes for categories."""
        return "frame" if self._categorical else "numbers"

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The names that it was fitted on; empty where it was fitted on an array."""
        # The columns of an array are named by their numbers.
        names = tuple(self.model.feature_names_)
        return () if all(name == str(k) for k, name in enumerate(names)) else names

    @property
    def n_columns(self) -> int:
        """How many columns it was fitted on; 0 where that is unknown."""
        return len(self.model.feature_names_)

    @property
    def n_outputs(self) -> int:
        """One for each class; 1 for regression."""
        return len(self.class_names) or 1

    def outputs(self, table: Any) -> Floats:
        """`[N, C]`: logits of a classifier, values of a regressor."""
        raw = self.class_names or self.margin or self._loss not in _EXPONENTS
        kind = "RawFormulaVal" if raw else "Exponent"
        prediction = self.model.predict(self._prepared(table), prediction_type=kind)
        values = np.asarray(prediction, dtype=np.float64)
        return outputs_of(values, binary=len(self.class_names) == 2)

    def trees(self, column: Column) -> TableTrees:
        """How outputs or probabilities come about; see `TableModel.trees`."""
        if self.class_names:
            require_logits(column, self.library)
        elif not self.margin and self._loss in _EXPONENTS:
            require_identity(self.library, self._loss, ())
        dump, questions = self._dump, self._questions
        binary = len(self.class_names) == 2
        loading = torch.tensor(loadings(1 if binary else self.n_outputs, binary=binary)).double()
        # The scale is that of the trees alone: CatBoost adds the bias after it.
        scale, bias = dump["scale_and_bias"]
        nodes = [questions.oblivious(tree, scale * loading) for tree in _symmetric(dump)]
        nodes += [_grown(tree, scale * loading, questions) for tree in dump.get("trees", ())]
        base = torch.tensor(bias, dtype=torch.float64) @ loading
        trees = replace(stacked(nodes), base=base)
        return TableTrees(trees, self._asked, questions.source(self.n_columns))

    def _asked(self, table: Any) -> Floats:
        """`[N, Q]`: the columns of numbers, then a truth value for each question of a category."""
        questions, prepared = self._questions, self._prepared(table)
        values = np.asarray(prepared)[:, list(questions.numbers)].astype(np.float64)
        if not questions.places:
            return values
        # The leaf that a row comes to tells how each question of its tree was answered.
        leaves = np.asarray(self.model.calc_leaf_indexes(prepared))
        bits = [leaves[:, tree] >> depth & 1 for tree, depth in questions.places.values()]
        return np.column_stack([values, *bits]).astype(np.float64)

    def _prepared(self, table: Any) -> Any:
        """An array has its categories as whole numbers, which CatBoost does not take as floats."""
        if not self._categorical or not isinstance(table, np.ndarray):
            return table
        prepared = table.astype(object)
        prepared[:, self._categorical] = table[:, self._categorical].astype(np.int64)
        return prepared

    @cached_property
    def _categorical(self) -> list[int]:
        indices: list[int] = self.model.get_cat_feature_indices()
        return indices

    @cached_property
    def _questions(self) -> _Questions:
        return _Questions.of(self._dump)

    @cached_property
    def _loss(self) -> str:
        return _loss_of(self.model)

    @cached_property
    def _dump(self) -> Mapping[str, Any]:
        # The JSON of a model is written to files only.
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.json"
            self.model.save_model(str(path), format="json")
            dump: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return dump


def _symmetric(dump: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    trees: Sequence[Mapping[str, Any]] = dump.get("oblivious_trees", ())
    return trees


@dataclass(frozen=True, eq=False)
class _Questions:
    """What the trees ask about: columns of numbers, and questions of categories.

    Attributes:
        numbers: the columns of numbers; missing_right: whether a missing value goes right in each.
        places: number of a question of categories -> a tree and a depth in it that ask it.
        made: number of a question -> the columns that it looks at.
    """

    numbers: tuple[int, ...]
    missing_right: tuple[bool, ...]
    places: Mapping[int, tuple[int, int]]
    made: Mapping[int, tuple[int, ...]]

    @classmethod
    def of(cls, dump: Mapping[str, Any]) -> _Questions:
        features = dump["features_info"]
        if features.get("text_features") or features.get("embedding_features"):
            raise Unsupported("TreeSHAP reads no texts or embeddings of CatBoost")
        numbers = features.get("float_features", ())
        asked = [
            (split["split_index"], (number, depth))
            for number, tree in enumerate(_symmetric(dump))
            for depth, split in enumerate(tree["splits"] or ())
            if split["split_type"] != "FloatFeature"
        ]
        return cls(
            tuple(feature["flat_feature_index"] for feature in numbers),
            tuple(feature["nan_value_treatment"] == "AsTrue" for feature in numbers),
            # Of a question that several trees ask, the first place stays.
            dict(reversed(asked)),
            _made(features),
        )

    def source(self, n_columns: int) -> Bools:
        """`[Q, columns of the table]`."""
        asked = [*((column,) for column in self.numbers), *(self.made[q] for q in self.places)]
        source = np.zeros((len(asked), n_columns), dtype=np.bool_)
        for row, columns in enumerate(asked):
            source[row, list(columns)] = True
        return source

    def column(self, split: Mapping[str, Any]) -> tuple[int, float, bool]:
        """What a split asks about, the largest value that goes left, and whether a gap does."""
        if split["split_type"] == "FloatFeature":
            number = split["float_feature_index"]
            # Borders are compared in single precision, and JSON has their decimals.
            return number, float(np.float32(split["border"])), not self.missing_right[number]
        return self._order[split["split_index"]], 0.5, True

    @cached_property
    def _order(self) -> Mapping[int, int]:
        """Number of a question of categories -> its column, behind those of numbers."""
        return {number: len(self.numbers) + k for k, number in enumerate(self.places)}

    def oblivious(self, tree: Mapping[str, Any], loading: Tensor) -> Nodes:
        """A tree that asks one question per level, the last of its list at the root."""
        asked = [self.column(split) for split in reversed(tree["splits"] or ())]
        depth, n_inner = len(asked), 2 ** len(asked) - 1
        # Level by level: the children of the node at place p are at 2p + 1 and 2p + 2.
        level = [k for k in range(depth) for _ in range(2**k)]
        columns, borders, missing = (
            torch.tensor([asked[k][part] for k in level] + [0] * 2**depth) for part in range(3)
        )
        place = torch.arange(2 * n_inner + 1)
        left = torch.where(place < n_inner, 2 * place + 1, -1)
        value = torch.tensor(tree["leaf_values"], dtype=torch.float64).view(2**depth, -1)
        return Nodes(
            element=columns.long(),
            threshold=borders.double(),
            left=left,
            right=torch.where(left < 0, -1, left + 1),
            cover=_summed_up(torch.tensor(tree["leaf_weights"], dtype=torch.float64)),
            value=torch.cat([torch.zeros(n_inner, value.shape[1]), value]) @ loading,
            missing_left=missing > 0,
        )


def _summed_up(weights: Tensor) -> Tensor:
    """Of all nodes of a full tree, level by level, from those of its leaves."""
    levels = [weights]
    while len(levels[0]) > 1:
        levels.insert(0, levels[0].view(-1, 2).sum(1))
    return torch.cat(levels)


def _grown(tree: Mapping[str, Any], loading: Tensor, questions: _Questions) -> Nodes:
    """A tree whose branches ask what they like (`grow_policy`)."""
    rows: list[tuple[int, float, int, int, float, bool]] = []
    values: list[Any] = []

    def add(node: Mapping[str, Any]) -> int:
        place, n_values = len(rows), len(loading)
        # Before the children take their places, because the root is node 0.
        rows.append((0, 0.0, -1, -1, 0.0, False))
        values.append([0.0] * n_values)
        if "split" not in node:
            # One number where there is one output, else a list of them.
            values[place] = np.broadcast_to(node["value"], n_values).tolist()
            rows[place] = (0, 0.0, -1, -1, float(node["weight"]), False)
            return place
        if node["split"]["split_type"] != "FloatFeature":
            raise Unsupported(
                "TreeSHAP reads CatBoost's questions of categories in symmetric trees only; fit "
                "with grow_policy='SymmetricTree', or ask an explainer that needs no trees"
            )
        left, right = add(node["left"]), add(node["right"])
        column, border, missing = questions.column(node["split"])
        weight = rows[left][4] + rows[right][4]
        rows[place] = (column, border, left, right, weight, missing)
        return place

    add(tree)
    element, threshold, lefts, rights, cover, missing = (
        torch.tensor(part) for part in zip(*rows, strict=True)
    )
    return Nodes(
        element=element,
        threshold=threshold.double(),
        left=lefts,
        right=rights,
        cover=cover.double(),
        value=torch.tensor(values, dtype=torch.float64) @ loading,
        missing_left=missing,
    )


def _made(features: Mapping[str, Any]) -> Mapping[int, tuple[int, ...]]:
    """Question -> the columns it looks at. They are numbered by borders of numbers, then values of
    categories, then borders of what is counted of categories.
    """
    kinds = {"cat_feature_index": "categorical_features", "float_feature_index": "float_features"}
    place = {
        kind: [feature["flat_feature_index"] for feature in features.get(name, ())]
        for kind, name in kinds.items()
    }
    looked: list[tuple[int, ...]] = []
    for feature in features.get("float_features", ()):
        looked += [(feature["flat_feature_index"],)] * len(feature["borders"])
    for feature in features.get("categorical_features", ()):
        looked += [(feature["flat_feature_index"],)] * len(feature.get("values", ()))
    for counted in features.get("ctrs", ()):
        parts = [
            (kind, part[kind]) for part in counted["elements"] for kind in kinds if kind in part
        ]
        columns = {place[kind][number] for kind, number in parts}
        looked += [tuple(sorted(columns))] * len(counted["borders"])
    return dict(enumerate(looked))


def read(path: Path) -> Any:
    """The model of a file that CatBoost saved (`.cbm`, or `.json`). Raises ValueError."""
    model = library().CatBoost()
    kind = "json" if path.suffix == ".json" else "cbm"
    try:
        model.load_model(str(path), format=kind)
    except library().CatBoostError as error:
        raise ValueError(
            f"{path} is no model that CatBoost {library().__version__} can read "
            f"({' '.join(str(error).split())[:200]}); write it with model.save_model('model.cbm')"
        ) from error
    return model


def model_of(model: Any, *, margin: bool = False) -> CatBoostModel:
    """A model that has been fitted. Raises ValueError where it has not, or has several labels."""
    if not model.is_fitted():
        raise ValueError(f"this {type(model).__name__} has not been fitted: call fit first")
    if _loss_of(model) in _SEPARATE:
        raise ValueError(
            f"the loss {_loss_of(model)} gives each class a probability of its own, which do not "
            "add up to 1; fit the model with loss_function='MultiClass'"
        )
    return CatBoostModel(model, tuple(value_name(name) for name in model.classes_), margin)


def _loss_of(model: Any) -> str:
    loss = model.get_all_params().get("loss_function", "")
    return str(loss).partition(":")[0]


def library() -> Any:
    try:
        import catboost
    except ImportError:
        raise not_installed("CatBoost", "catboost") from None
    return catboost
