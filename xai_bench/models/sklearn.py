"""Models of scikit-learn, on the flattened input.

Linear ones become torch modules with the fitted weights, and so are differentiable; forests and
support vector machines stay black boxes. Outputs are logits, or something that orders like them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from xai_bench.core.seeds import Seeds
from xai_bench.data.bundle import Bundle
from xai_bench.models.base import OnEpoch, Predictor, Trained
from xai_bench.models.estimators import (
    EstimatorRecipe,
    Floats,
    SklearnPredictor,
    decisions,
    fit_rows,
    flat_rows,
    mixed_log_votes,
    require_fit,
    require_floor,
    values,
)
from xai_bench.models.fitting.weights import NetworkRecipe, sequence, with_weights
from xai_bench.models.tree_nodes import nodes_of, stacked
from xai_bench.types import Column, Structure, Unsupported


@dataclass(frozen=True)
class Linear(NetworkRecipe):
    """Logistic regression, or linear regression with an L2 penalty; differentiable.

    A binary score `z` becomes the logits `[-z/2, z/2]`.
    """

    gives: ClassVar[tuple[str, ...]] = ("linear", "glass_box")
    l2: float = 1.0

    def train(self, bundle: Bundle, *, seed: int, on_epoch: OnEpoch) -> Trained:
        """Fit by scikit-learn, then copy the weights into a torch module."""
        require_fit(bundle, "linear")
        weights = fit_linear(flat_rows(bundle.train.x), bundle, self.l2)
        return Trained(with_weights(self.network(bundle), bundle, weights))

    def network(self, bundle: Bundle) -> nn.Sequential:
        """One linear layer on the flattened input."""
        with torch.device("meta"):
            head = nn.Linear(bundle.train.x[0].numel(), bundle.n_outputs)
            return sequence({"flatten": nn.Flatten(), "head": head})


@dataclass(frozen=True)
class RandomForest(EstimatorRecipe):
    """A random forest; class outputs are log-probabilities, not below `log(floor)`.

    Trees often give a class no vote at all, so without a floor one logit in many would be minus
    infinity. The votes are mixed with equal shares of `floor` for every class: the trees still add
    up to the probability, `floor + (1 - C * floor) * vote`. Breiman 2001.
    """

    name: ClassVar[str] = "random_forest"
    version: ClassVar[int] = 2
    gives: ClassVar[tuple[str, ...]] = ("trees",)
    n_estimators: int = 100
    max_depth: int | None = None
    min_samples_leaf: int = 1
    floor: float = 0.01

    def estimator(self, bundle: Bundle, seed: int) -> Any:
        """A forest of scikit-learn for classes or values."""
        from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

        regression = bundle.task == "regression"
        return (RandomForestRegressor if regression else RandomForestClassifier)(
            n_estimators=self.n_estimators,
            max_depth=self.max_depth,
            min_samples_leaf=self.min_samples_leaf,
            random_state=Seeds(seed).number("training", "forest"),
            # Several jobs add up the votes in any order, and round them differently each time.
            n_jobs=1,
        )

    def predictor(self, estimator: Any, bundle: Bundle) -> Predictor:
        """Values, or logarithms of the mixed votes."""
        require_floor(self.floor, bundle.n_outputs)
        if bundle.task == "regression":
            return SklearnPredictor(estimator, values, 1, forest_of_values)
        read = partial(mixed_log_votes, floor=self.floor)
        structure = partial(forest_of_votes, floor=self.floor)
        return SklearnPredictor(estimator, read, bundle.n_outputs, structure)


@dataclass(frozen=True)
class SVM(EstimatorRecipe):
    """A support vector machine with a Gaussian kernel; outputs are decision values.

    A binary value `d` becomes `[-d/2, d/2]`. Several classes are one machine against the rest
    each, for the votes of pairwise machines jump and would hide most of what a removal changes. A
    regressor is fitted to standardised values. Cortes & Vapnik 1995.
    """

    name: ClassVar[str] = "svm"
    gives: ClassVar[tuple[str, ...]] = ()
    C: float = 1.0
    gamma: float | str = "scale"

    def estimator(self, bundle: Bundle, seed: int) -> Any:
        """A machine of scikit-learn, or one against the rest for each of three classes or more."""
        from sklearn.compose import TransformedTargetRegressor
        from sklearn.multiclass import OneVsRestClassifier
        from sklearn.preprocessing import StandardScaler
        from sklearn.svm import SVC, SVR

        if bundle.task == "regression":
            machine = SVR(C=self.C, gamma=self.gamma)
            return TransformedTargetRegressor(machine, transformer=StandardScaler())
        # Without `probability`, whose calibration draws folds: nothing here depends on a seed.
        machine = SVC(C=self.C, gamma=self.gamma)
        return machine if bundle.n_outputs == 2 else OneVsRestClassifier(machine, n_jobs=1)

    def predictor(self, estimator: Any, bundle: Bundle) -> Predictor:
        """Values, or decision values."""
        read = values if bundle.task == "regression" else decisions
        return SklearnPredictor(estimator, read, bundle.n_outputs)


def fit_linear(rows: Floats, bundle: Bundle, l2: float) -> dict[str, Tensor]:
    """Weights of a layer `head` on `rows [N, F]`, fitted to the labels of the training part."""
    from sklearn.linear_model import LogisticRegression, Ridge

    if bundle.task == "regression":
        estimator: Any = Ridge(alpha=l2)
    else:
        # Scikit-learn's own limit of 100 often ends before the fit has converged.
        estimator = LogisticRegression(C=1 / l2, max_iter=10_000)
    fit_rows(estimator, rows, bundle.train.y.numpy())
    # [C, F]: Ridge has a vector, and logistic regression of two classes a single row.
    weight = torch.as_tensor(np.atleast_2d(estimator.coef_))
    bias = torch.as_tensor(np.atleast_1d(estimator.intercept_))
    if len(weight) < bundle.n_outputs:
        # Halves: their softmax is the sigmoid of the score.
        weight, bias = torch.cat([-weight, weight]) / 2, torch.cat([-bias, bias]) / 2
    return {"head.weight": weight, "head.bias": bias}


def forest_of_values(estimator: Any, column: Column) -> Structure:
    """The trees of a regressor, whose mean is the output."""
    trees = [nodes_of(tree.tree_) for tree in estimator.estimators_]
    return stacked(trees, 1 / len(trees))


def forest_of_votes(estimator: Any, column: Column, floor: float) -> Structure:
    """The trees of a classifier, which add up to probabilities.

    Raises `Unsupported` for its outputs, which are the logarithms.
    """
    if column == "outputs":
        raise Unsupported(
            "the trees of a forest add up to probabilities, and their logarithm is explained: "
            "use target=predicted_probability"
        )
    trees = [nodes_of(tree.tree_) for tree in estimator.estimators_]
    # The constant `floor` is in no tree, and in no attribution either.
    share = 1 - estimator.n_classes_ * floor
    return stacked(trees, share / len(trees))
