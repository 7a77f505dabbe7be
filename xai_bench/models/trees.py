"""Trees of scikit-learn beside the forest: a single one, and gradient boosting."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch

from xai_bench.core.seeds import Seeds
from xai_bench.data.bundle import Bundle
from xai_bench.models.base import OnEpoch, Predictor, Trained
from xai_bench.models.sklearn import (
    SklearnPredictor,
    decisions,
    fit_estimator,
    log_votes,
    mixed,
    read_estimator,
    require_floor,
    values,
    write_estimator,
)
from xai_bench.models.tree_nodes import boosted_nodes_of, nodes_of, stacked
from xai_bench.types import Column, Structure, Unsupported


@dataclass(frozen=True)
class Tree:
    """A single decision tree, a glass box; class outputs are log-probabilities.

    The shares of the classes in a leaf are mixed with `floor` for each, so that no logarithm is
    minus infinity. Breiman+ 1984.
    """

    differentiable: ClassVar[bool] = False
    trains: ClassVar[bool] = True
    gives: ClassVar[tuple[str, ...]] = ("trees", "glass_box")
    max_depth: int | None = 4
    min_samples_leaf: int = 5
    floor: float = 0.01

    def train(self, bundle: Bundle, *, seed: int, on_epoch: OnEpoch) -> Trained:
        from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

        regression = bundle.task == "regression"
        estimator = (DecisionTreeRegressor if regression else DecisionTreeClassifier)(
            max_depth=self.max_depth,
            min_samples_leaf=self.min_samples_leaf,
            random_state=Seeds(seed).number("training", "tree"),
        )
        fit_estimator(estimator, bundle, "tree")
        return Trained(self._predictor(estimator, bundle))

    def save(self, predictor: Predictor, folder: Path) -> None:
        write_estimator(predictor, folder)

    def load(self, bundle: Bundle, folder: Path) -> Predictor:
        return self._predictor(read_estimator(folder), bundle)

    def _predictor(self, estimator: Any, bundle: Bundle) -> Predictor:
        if bundle.task == "regression":
            return SklearnPredictor(estimator, values, 1, _one_tree)
        require_floor(self.floor, bundle.n_outputs)
        read = partial(log_votes, floor=self.floor)
        inside = partial(_one_tree_of_votes, floor=self.floor)
        return SklearnPredictor(estimator, read, bundle.n_outputs, inside)


@dataclass(frozen=True)
class GradientBoosting:
    """Gradient boosting of trees on binned columns; the trees add up to the logits.

    A binary score `z` becomes the logits `[-z/2, z/2]`. Friedman 2001; Ke+ 2017.
    """

    differentiable: ClassVar[bool] = False
    trains: ClassVar[bool] = True
    gives: ClassVar[tuple[str, ...]] = ("trees",)
    n_rounds: int = 100
    learning_rate: float = 0.1
    max_leaves: int = 31
    min_samples_leaf: int = 20

    def train(self, bundle: Bundle, *, seed: int, on_epoch: OnEpoch) -> Trained:
        from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

        regression = bundle.task == "regression"
        estimator = (
            HistGradientBoostingRegressor if regression else HistGradientBoostingClassifier
        )(
            max_iter=self.n_rounds,
            learning_rate=self.learning_rate,
            max_leaf_nodes=self.max_leaves,
            min_samples_leaf=self.min_samples_leaf,
            early_stopping=False,
            random_state=Seeds(seed).number("training", "boosting"),
        )
        fit_estimator(estimator, bundle, "gradient_boosting")
        return Trained(self._predictor(estimator, bundle))

    def save(self, predictor: Predictor, folder: Path) -> None:
        write_estimator(predictor, folder)

    def load(self, bundle: Bundle, folder: Path) -> Predictor:
        return self._predictor(read_estimator(folder), bundle)

    def _predictor(self, estimator: Any, bundle: Bundle) -> Predictor:
        read = values if bundle.task == "regression" else decisions
        return SklearnPredictor(estimator, read, bundle.n_outputs, _rounds)


def _one_tree(estimator: Any, column: Column) -> Structure:
    return stacked([nodes_of(estimator.tree_)])


def _one_tree_of_votes(estimator: Any, column: Column, floor: float) -> Structure:
    """A tree of logarithms is a tree, too."""
    nodes = nodes_of(estimator.tree_)
    shares = torch.from_numpy(mixed(nodes.value.numpy(), floor))
    return stacked([replace(nodes, value=shares.log() if column == "outputs" else shares)])


def _rounds(estimator: Any, column: Column) -> Structure:
    """One tree per round and class; two classes share one."""
    if column == "probabilities":
        raise Unsupported(
            "the trees of gradient boosting add up to logits, and a probability is explained: "
            "use target=predicted_logit"
        )
    rounds = estimator._predictors
    n_trees = len(rounds[0])
    loadings = torch.eye(n_trees, dtype=torch.float64)
    if n_trees == 1 and hasattr(estimator, "classes_"):
        loadings = torch.tensor([[-0.5, 0.5]], dtype=torch.float64)
    trees = [
        boosted_nodes_of(tree, loading)
        for one_round in rounds
        for tree, loading in zip(one_round, loadings, strict=True)
    ]
    return stacked(trees, precision=torch.float64)
