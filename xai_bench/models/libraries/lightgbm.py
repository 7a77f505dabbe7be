"""Fitted models of LightGBM, and their trees as its model text has them; the one file that
imports it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

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
    "regression", "huber", "fair", "quantile", "mape", "lambdarank", "rank_xendcg", "none",
)  # fmt: skip
"""Objectives whose prediction is the sum of the trees."""

_ZERO_IS_MISSING, _NAN_IS_MISSING = 1, 2
_TINY = float(np.float32(1e-35))
"""What LightGBM takes for zero."""


@dataclass(frozen=True, eq=False)
class LightGBMModel:
    """A booster, or the one inside of a scikit-learn style wrapper.

    A classifier's outputs are its margins: those of several classes as they are, a binary `z` with
    slope `s` as `[-sz/2, sz/2]`. A regressor's are its predictions; with `margin`, the sums of its
    trees.
    """

    booster: Any
    class_names: tuple[str, ...]
    margin: bool = False
    library: ClassVar[str] = "LightGBM"
    takes: ClassVar[Literal["frame", "numbers"]] = "numbers"

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The names that it was fitted on; empty where it was fitted on an array."""
        names = tuple(self.booster.feature_name())  # with _ in place of spaces
        unnamed = all(name == f"Column_{k}" for k, name in enumerate(names))
        return () if unnamed else names

    @property
    def n_columns(self) -> int:
        """How many columns it was fitted on; 0 where that is unknown."""
        return int(self.booster.num_feature())

    @property
    def n_outputs(self) -> int:
        """One for each class; 1 for regression."""
        return len(self.class_names) or 1

    @cached_property
    def categories(self) -> Mapping[int, Sequence[Any]]:
        """Listed in the order of the columns that are categories; the text has their numbers."""
        listed = self.booster.pandas_categorical or []
        infos = self._header["feature_infos"].split(" ")
        # A category's values stand as 1:3:0, a range of numbers as [0:3].
        numbers = [k for k, info in enumerate(infos) if ":" in info and info[0] != "["]
        return dict(zip(numbers, listed, strict=True)) if len(numbers) == len(listed) else {}

    def outputs(self, table: Floats) -> Floats:
        """`[N, C]`: logits of a classifier, values of a regressor."""
        raw = bool(self.class_names) or self.margin
        values = np.asarray(self.booster.predict(table, raw_score=raw), dtype=np.float64)
        # Of a random forest (boosting=rf), what is raw is the sum, and not the mean, of its trees.
        values = values * self._share if raw else values
        binary = len(self.class_names) == 2
        return outputs_of(self._slope * values if binary else values, binary=binary)

    def trees(self, column: Column) -> TableTrees:
        """How outputs or probabilities come about; see `TableModel.trees`."""
        if self.class_names:
            require_logits(column, self.library)
        elif not self.margin:
            require_identity(self.library, self._objective[0], _IDENTITIES)
            # Of `regression sqrt`, the prediction is the square of the sum.
            require_identity(self.library, " ".join(self._objective[1:]) or "none", ("none",))
        binary, per_round = len(self.class_names) == 2, self._trees_per_round
        loading = torch.tensor(loadings(per_round, binary=binary), dtype=torch.float64)
        loading = loading * (self._slope if binary else 1.0)
        kept = self._blocks[: self._rounds * per_round]
        nodes = [_nodes_of(tree, loading[k % per_round]) for k, tree in enumerate(kept)]
        trees = stacked(nodes, self._share, precision=torch.float64)
        zero = _columns_with(kept, _ZERO_IS_MISSING)
        return TableTrees(trees, lambda table: _with_gaps(table, zero))

    @cached_property
    def _parts(self) -> tuple[Mapping[str, str], list[Mapping[str, str]]]:
        # All rounds: by default the text ends with the best one, and `_rounds` cuts by itself.
        text = self.booster.model_to_string(num_iteration=-1).partition("end of trees")[0]
        header, *trees = text.split("\nTree=")
        return _lines(header), [_lines(tree) for tree in trees]

    @property
    def _header(self) -> Mapping[str, str]:
        return self._parts[0]

    @property
    def _blocks(self) -> list[Mapping[str, str]]:
        return self._parts[1]

    @property
    def _trees_per_round(self) -> int:
        return int(self._header["num_tree_per_iteration"])

    @property
    def _rounds(self) -> int:
        """Those up to the best, after early stopping."""
        best, rounds = self.booster.best_iteration, len(self._blocks) // self._trees_per_round
        return min(best, rounds) if best > 0 else rounds

    @property
    def _share(self) -> float:
        """What each tree counts."""
        return 1 / self._rounds if "average_output" in self._header else 1.0

    @property
    def _objective(self) -> list[str]:
        """Its name, and what else is told of it; `none` of one that the user wrote."""
        return self._header.get("objective", "none").split(" ")

    @property
    def _slope(self) -> float:
        settings = dict(part.partition(":")[::2] for part in self._objective[1:])
        return float(settings.get("sigmoid", 1.0))


def _lines(text: str) -> Mapping[str, str]:
    return {name: value for name, _, value in (line.partition("=") for line in text.splitlines())}


def _numbers(tree: Mapping[str, str], name: str, kind: type[Any] = float) -> Any:
    return np.array(tree.get(name, "").split(), dtype=kind)


def _nodes_of(tree: Mapping[str, str], loading: Tensor) -> Nodes:
    """Questions first, then leaves; `loading [C]`: what 1 adds to the outputs."""
    if tree.get("is_linear", "0") != "0":
        raise Unsupported(
            "TreeSHAP reads trees whose leaves are numbers; these hold linear models "
            "(linear_tree=true): ask an explainer that needs no trees, such as kernel_shap"
        )
    value = torch.from_numpy(_numbers(tree, "leaf_value"))
    n_leaves = len(value)
    kind = torch.from_numpy(_numbers(tree, "decision_type", int))
    n_questions, threshold = len(kind), _numbers(tree, "threshold")
    children = [
        torch.from_numpy(_numbers(tree, f"{side}_child", int)) for side in ("left", "right")
    ]
    # Leaf k is written as -k - 1, and stands behind the questions here.
    left, right = (torch.where(c < 0, n_questions - 1 - c, c) for c in children)
    ends = torch.full((n_leaves,), -1)
    # Bit 0: a category. Bit 1: what is missing goes left. Bits 2 and 3: nothing, zero or NaN is.
    category, missing = kind & 1 > 0, kind >> 2 & 3
    # Where nothing counts as missing, LightGBM reads NaN as 0.
    zero_left = torch.from_numpy(threshold >= 0)
    missing_left = torch.where(missing == 0, zero_left, kind & 2 > 0) & ~category
    sets, table = _sets(tree, category, threshold)
    cover = [_numbers(tree, name) for name in ("internal_count", "leaf_count")]
    return Nodes(
        element=_padded(torch.from_numpy(_numbers(tree, "split_feature", int)), n_leaves),
        threshold=_padded(torch.from_numpy(threshold), n_leaves),
        left=torch.cat([left, ends]),
        right=torch.cat([right, ends]),
        cover=torch.from_numpy(np.concatenate(cover)) if n_questions else torch.ones(1).double(),
        value=torch.cat([torch.zeros(n_questions), value])[:, None] * loading,
        missing_left=_padded(missing_left, n_leaves),
        category_set=None if sets is None else functional.pad(sets, (0, n_leaves), value=-1),
        left_categories=table,
    )


def _padded(values: Tensor, n_leaves: int) -> Tensor:
    return functional.pad(values, (0, n_leaves))


def _sets(
    tree: Mapping[str, str], category: Tensor, threshold: Floats
) -> tuple[Tensor | None, Tensor | None]:
    """The categories of a set, a bit each in words of 32, go left, all others right."""
    words, ends = (_numbers(tree, name, int) for name in ("cat_threshold", "cat_boundaries"))
    if len(words) == 0:
        return None, None
    table = torch.zeros(len(ends) - 1, 32 * int(np.diff(ends).max()) + 1, dtype=torch.bool)
    for row, (start, end) in enumerate(pairwise(ends)):
        bits = torch.from_numpy(words[start:end])[:, None] >> torch.arange(32) & 1
        table[row, : bits.numel()] = bits.flatten() > 0
    # Of a question about a category, the threshold is the number of its set.
    return torch.where(
        category, torch.from_numpy(np.where(category, threshold, 0)).long(), -1
    ), table


def _columns_with(trees: Sequence[Mapping[str, str]], missing: int) -> list[int]:
    """The columns of numbers whose questions take this for missing; one column is always alike."""
    columns: set[int] = set()
    for tree in trees:
        kind, column = _numbers(tree, "decision_type", int), _numbers(tree, "split_feature", int)
        columns |= set(column[(kind >> 2 & 3 == missing) & (kind & 1 == 0)].tolist())
    return sorted(columns)


def _with_gaps(table: Floats, columns: Sequence[int]) -> Floats:
    """NaN for every zero of these columns."""
    with_gaps = table.copy()
    with_gaps[:, columns] = np.where(
        np.abs(with_gaps[:, columns]) <= _TINY, np.nan, with_gaps[:, columns]
    )
    return with_gaps


def read(path: Path) -> Any:
    """The booster of a text file that LightGBM saved. Raises ValueError."""
    try:
        return library().Booster(model_file=path)
    except (library().basic.LightGBMError, UnicodeDecodeError, ValueError) as error:
        raise ValueError(
            f"{path} is no model that LightGBM {library().__version__} can read ({error}); write "
            "it with booster.save_model('model.txt')"
        ) from error


def model_of(model: Any, *, margin: bool = False) -> LightGBMModel:
    """A booster or a wrapper that has been fitted. Raises ValueError where it has not."""
    if not hasattr(model, "booster_"):
        if hasattr(model, "fit"):
            raise ValueError(f"this {type(model).__name__} has not been fitted: call fit first")
        return LightGBMModel(model, _classes(model), margin)
    classes = getattr(model, "classes_", None)
    own = _classes(model.booster_)
    names = own if classes is None else tuple(value_name(name) for name in classes)
    return LightGBMModel(model.booster_, names, margin)


def _classes(booster: Any) -> tuple[str, ...]:
    """Numbers for names, for a booster knows no others."""
    header = _lines(booster.model_to_string(num_iteration=1).partition("\nTree=")[0])
    name = header.get("objective", "none").split(" ")[0]
    if name == "multiclassova":
        raise ValueError(
            "the objective multiclassova gives each class a probability of its own, which do not "
            "add up to 1; fit the model with objective=multiclass"
        )
    n_classes = {"binary": 2, "multiclass": int(header.get("num_class", 1))}.get(name, 0)
    return tuple(str(number) for number in range(n_classes))


def library() -> Any:
    try:
        import lightgbm
    except ImportError:
        raise not_installed("LightGBM", "lightgbm") from None
    return lightgbm
