"""Trees of scikit-learn beside the forest: a single one, and gradient boosting."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

import torch

from xai_bench.core.seeds import Seeds
from xai_bench.data.bundle import Bundle
from xai_bench.models.base import Predictor
from xai_bench.models.estimators import (
    EstimatorRecipe,
    SklearnPredictor,
    decisions,
    mix_votes,
    mixed_log_votes,
    require_floor,
    values,
)
from xai_bench.models.tree_nodes import boosted_nodes_of, nodes_of, stacked
from xai_bench.types import Column, Structure, Unsupported


@dataclass(frozen=True)
class Tree(EstimatorRecipe):
    """A single decision tree, a glass box; class outputs are log-probabilities.

    The shares of the classes in a leaf are mixed with `floor` for each, so that no logarithm is
    minus infinity. Breiman+ 1984.
    """

    name: ClassVar[str] = "tree"
    gives: ClassVar[tuple[str, ...]] = ("trees", "glass_box")
    max_depth: int | None = 4
    min_samples_leaf: int = 5
    floor: float = 0.01

    def estimator(self, bundle: Bundle, seed: int) -> Any:
        """A decision tree of scikit-learn for classes or values."""
        from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

        regression = bundle.task == "regression"
        return (DecisionTreeRegressor if regression else DecisionTreeClassifier)(
            max_depth=self.max_depth,
            min_samples_leaf=self.min_samples_leaf,
            random_state=Seeds(seed).number("training", "tree"),
        )

    def predictor(self, estimator: Any, bundle: Bundle) -> Predictor:
        """Values, or logarithms of the mixed shares."""
        if bundle.task == "regression":
            return SklearnPredictor(estimator, values, 1, _tree_of_values)
        require_floor(self.floor, bundle.n_outputs)
        read = partial(mixed_log_votes, floor=self.floor)
        structure = partial(_tree_of_votes, floor=self.floor)
        return SklearnPredictor(estimator, read, bundle.n_outputs, structure)


@dataclass(frozen=True)
class GradientBoosting(EstimatorRecipe):
    """Gradient boosting of trees on binned columns; the trees add up to the logits.

    A binary score `z` becomes the logits `[-z/2, z/2]`. Friedman 2001; Ke+ 2017.
    """

    name: ClassVar[str] = "gradient_boosting"
    gives: ClassVar[tuple[str, ...]] = ("trees",)
    n_rounds: int = 100
    learning_rate: float = 0.1
    max_leaves: int = 31
    min_samples_leaf: int = 20

    def estimator(self, bundle: Bundle, seed: int) -> Any:
        """Histogram-based boosting of scikit-learn for classes or values."""
        from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

        regression = bundle.task == "regression"
        return (HistGradientBoostingRegressor if regression else HistGradientBoostingClassifier)(
            max_iter=self.n_rounds,
            learning_rate=self.learning_rate,
            max_leaf_nodes=self.max_leaves,
            min_samples_leaf=self.min_samples_leaf,
            # Stopping early would split a validation part off the training rows once more.
            early_stopping=False,
            random_state=Seeds(seed).number("training", "boosting"),
        )

    def predictor(self, estimator: Any, bundle: Bundle) -> Predictor:
        """Values, or decision values."""
        read = values if bundle.task == "regression" else decisions
        return SklearnPredictor(estimator, read, bundle.n_outputs, _boosted_trees)


def _tree_of_values(estimator: Any, column: Column) -> Structure:
    return stacked([nodes_of(estimator.tree_)])


def _tree_of_votes(estimator: Any, column: Column, floor: float) -> Structure:
    """Of probabilities or of their logarithms: with a single tree, both are trees."""
    nodes = nodes_of(estimator.tree_)
    shares = torch.from_numpy(mix_votes(nodes.value.numpy(), floor))
    # Exactly one leaf is reached, so that any function of its value is a tree again.
    return stacked([replace(nodes, value=shares.log() if column == "outputs" else shares)])


def _boosted_trees(estimator: Any, column: Column) -> Structure:
    """One tree per round and class; two classes share one.

    Raises `Unsupported` for probabilities, of which the trees are no sum.
    """
    if column == "probabilities":
        raise Unsupported(
            "the trees of gradient boosting add up to logits, and a probability is explained: "
            "use target=predicted_logit"
        )
    # Private, and the only place of the trees. The constant that the rounds start from is left
    # out: it is in no attribution.
    rounds = estimator._predictors
    n_trees = len(rounds[0])
    loadings = torch.eye(n_trees, dtype=torch.float64)
    if n_trees == 1 and hasattr(estimator, "classes_"):
        loadings = torch.tensor([[-0.5, 0.5]], dtype=torch.float64)
    trees = [
        boosted_nodes_of(tree, loading)
        for trees_of_round in rounds
        for tree, loading in zip(trees_of_round, loadings, strict=True)
    ]
    # Scikit-learn compares thresholds of binned columns in float64.
    return stacked(trees, precision=torch.float64)
