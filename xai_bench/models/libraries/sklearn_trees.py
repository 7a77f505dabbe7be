"""The trees of fitted scikit-learn estimators: single ones, forests, and both kinds of boosting."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from xai_bench.models.estimators import mix_votes
from xai_bench.models.libraries.table_model import (
    Bools,
    TableTrees,
    loadings,
    require_identity,
    require_logits,
)
from xai_bench.models.tree_nodes import boosted_nodes_of, nodes_of, stacked
from xai_bench.types import Column, TreeStructure, Unsupported

_TREES = (
    "DecisionTreeClassifier", "DecisionTreeRegressor", "ExtraTreeClassifier", "ExtraTreeRegressor",
)  # fmt: skip
_FORESTS = (
    "RandomForestClassifier", "RandomForestRegressor", "ExtraTreesClassifier",
    "ExtraTreesRegressor",
)  # fmt: skip
_BOOSTINGS = ("GradientBoostingClassifier", "GradientBoostingRegressor")
_HISTOGRAMS = ("HistGradientBoostingClassifier", "HistGradientBoostingRegressor")
_LINKED = ("poisson", "gamma")
"""Losses of histogram boosting whose prediction is the exponential of the sum of the trees."""


def trees_of(estimator: Any, column: Column, *, logits: bool, floor: float) -> TableTrees | None:
    """None of an estimator that is not made of trees.

    `logits`: whether a classifier's outputs are its margins; `floor` is what its probabilities are
    mixed with. Raises `Unsupported` where the trees add up to something else than the column.
    """
    name = type(estimator).__name__
    if getattr(estimator, "n_outputs_", 1) > 1:
        return None
    if name in _TREES:
        return TableTrees(_single(estimator, column, floor))
    if name in _FORESTS:
        return TableTrees(_forest(estimator, column, floor))
    if name in (*_BOOSTINGS, *_HISTOGRAMS):
        if hasattr(estimator, "classes_"):
            require_logits(column, name)
            # With the exponential loss, the margins are half the log-odds.
            if not logits:
                require_identity(name, str(estimator.loss), ())
        return _rounds(estimator) if name in _BOOSTINGS else _histogram_rounds(estimator)
    return None


def _single(estimator: Any, column: Column, floor: float) -> TreeStructure:
    """A tree of logarithms is a tree, too."""
    nodes = nodes_of(estimator.tree_)
    if not hasattr(estimator, "classes_"):
        return stacked([nodes])
    shares = torch.from_numpy(mix_votes(nodes.value.numpy(), floor))
    return stacked([replace(nodes, value=shares.log() if column == "outputs" else shares)])


def _forest(estimator: Any, column: Column, floor: float) -> TreeStructure:
    trees = [nodes_of(tree.tree_) for tree in estimator.estimators_]
    if not hasattr(estimator, "classes_"):
        return stacked(trees, 1 / len(trees))
    if column == "outputs":
        raise Unsupported(
            "the trees of a forest add up to probabilities, and their logarithm is explained: "
            "use target=predicted_probability"
        )
    trees = [
        # Into the leaves, so that the sum is the probability itself, as the outputs have it.
        replace(tree, value=torch.from_numpy(mix_votes(tree.value.numpy(), floor)))
        for tree in trees
    ]
    return stacked(trees, 1 / len(trees))


def _rounds(estimator: Any) -> TableTrees:
    """One tree per round and class; two classes share one."""
    init = estimator.init_
    if init != "zero" and not type(init).__name__.startswith("Dummy"):
        raise Unsupported(
            f"this {type(estimator).__name__} starts from a {type(init).__name__}, which is no sum "
            "of trees: ask an explainer that needs no trees, such as kernel_shap"
        )
    loading = _loading(estimator, estimator.estimators_.shape[1])
    nodes = [
        replace(nodes_of(tree.tree_), value=torch.tensor(tree.tree_.value[:, 0, :]) * row)
        for one_round in estimator.estimators_
        for tree, row in zip(one_round, loading, strict=True)
    ]
    # Of any row, because the start is a constant: what depends on the row was refused above.
    start = estimator._raw_predict_init(np.zeros((1, estimator.n_features_in_), np.float32))
    base = torch.from_numpy(start[0]).double() @ loading
    return TableTrees(replace(stacked(nodes, estimator.learning_rate), base=base))


def _histogram_rounds(estimator: Any) -> TableTrees:
    """One tree per round and class; two classes share one. Categories are its own codes."""
    if estimator.loss in _LINKED:
        require_identity(type(estimator).__name__, str(estimator.loss), ())
    loading = _loading(estimator, estimator.n_trees_per_iteration_)
    nodes = [
        boosted_nodes_of(tree, row)
        for one_round in estimator._predictors
        for tree, row in zip(one_round, loading, strict=True)
    ]
    base = torch.from_numpy(np.asarray(estimator._baseline_prediction[0])).double() @ loading
    trees = replace(stacked(nodes, precision=torch.float64), base=base)
    if estimator.is_categorical_ is None:
        return TableTrees(trees)
    return TableTrees(
        trees,
        # Its own encoder, which also moves the columns of categories to the front.
        lambda table: np.asarray(estimator._preprocess_X(table, reset=False), dtype=np.float64),
        _categories_first(estimator.is_categorical_),
    )


def _categories_first(is_category: Bools) -> Bools:
    """`[Q, columns]`: the order in which histogram boosting lays its columns."""
    order = np.concatenate([np.flatnonzero(is_category), np.flatnonzero(~is_category)])
    permutation: Bools = np.eye(len(order), dtype=np.bool_)[order]
    return permutation


def _loading(estimator: Any, n_trees: int) -> torch.Tensor:
    binary = n_trees == 1 and hasattr(estimator, "classes_")
    return torch.tensor(loadings(n_trees, binary=binary), dtype=torch.float64)
