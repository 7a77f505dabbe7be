"""Models of scikit-learn, on the flattened input.

Linear ones become torch modules with the fitted weights, and so are differentiable; forests and
support vector machines stay black boxes. Outputs are logits, or something that orders like them.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from xai_bench.core.seeds import Seeds
from xai_bench.data.bundle import Bundle
from xai_bench.models.base import OnEpoch, Predictor, TorchPredictor, Trained
from xai_bench.models.tree_nodes import nodes_of, stacked
from xai_bench.models.weights import allocate, read_weights, write_weights
from xai_bench.types import Column, Structure, Unsupported

Floats = npt.NDArray[np.float64]
_FILE = "estimator.skops"


def unread(estimator: Any, column: Column) -> Structure | None:
    """Nothing inside can be read."""
    return None


@dataclass(frozen=True, eq=False)
class SklearnPredictor:
    """A fitted estimator and how its outputs are read: `read(estimator, rows [B, F]) -> [B, C]`.

    `inside` reads how they come about.
    """

    estimator: Any
    read: Callable[[Any, Floats], Floats]
    n_outputs: int
    inside: Callable[[Any, Column], Structure | None] = unread
    differentiable: bool = False
    module: None = None

    def __call__(self, x: Tensor, context: Mapping[str, Tensor]) -> Tensor:
        return torch.from_numpy(self.read(self.estimator, _rows(x))).to(x.dtype)

    def structure(self, column: Column) -> Structure | None:
        return self.inside(self.estimator, column)


@dataclass(frozen=True)
class Linear:
    """Logistic regression, or linear regression with an L2 penalty; differentiable.

    A binary score `z` becomes the logits `[-z/2, z/2]`.
    """

    differentiable: ClassVar[bool] = True
    trains: ClassVar[bool] = True
    gives: ClassVar[tuple[str, ...]] = ("linear", "glass_box")
    l2: float = 1.0

    def train(self, bundle: Bundle, *, seed: int, on_epoch: OnEpoch) -> Trained:
        from sklearn.linear_model import LogisticRegression, Ridge

        if bundle.task == "regression":
            estimator: Any = Ridge(alpha=self.l2)
        else:
            estimator = LogisticRegression(C=1 / self.l2, max_iter=10_000)
        fit_estimator(estimator, bundle, "linear")
        network = _linear_network(bundle)
        allocate(network, bundle).load_state_dict(linear_weights(estimator, bundle.n_outputs))
        return Trained(TorchPredictor(network, bundle.n_outputs))

    def save(self, predictor: Predictor, folder: Path) -> None:
        write_weights(predictor, folder)

    def load(self, bundle: Bundle, folder: Path) -> Predictor:
        return read_weights(_linear_network(bundle), bundle, folder)


@dataclass(frozen=True)
class RandomForest:
    """A random forest; class outputs are log-probabilities, not below `log(floor)`.

    Trees often give a class no vote at all, so without a floor one logit in many would be minus
    infinity. The votes are mixed with equal shares of `floor` for every class: the trees still add
    up to the probability, `floor + (1 - C * floor) * vote`. Breiman 2001.
    """

    differentiable: ClassVar[bool] = False
    trains: ClassVar[bool] = True
    version: ClassVar[int] = 2
    gives: ClassVar[tuple[str, ...]] = ("trees",)
    n_estimators: int = 100
    max_depth: int | None = None
    min_samples_leaf: int = 1
    floor: float = 0.01

    def train(self, bundle: Bundle, *, seed: int, on_epoch: OnEpoch) -> Trained:
        from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

        regression = bundle.task == "regression"
        estimator = (RandomForestRegressor if regression else RandomForestClassifier)(
            n_estimators=self.n_estimators,
            max_depth=self.max_depth,
            min_samples_leaf=self.min_samples_leaf,
            random_state=Seeds(seed).number("training", "forest"),
            n_jobs=1,
        )
        fit_estimator(estimator, bundle, "random_forest")
        return Trained(self._predictor(estimator, bundle))

    def save(self, predictor: Predictor, folder: Path) -> None:
        write_estimator(predictor, folder)

    def load(self, bundle: Bundle, folder: Path) -> Predictor:
        return self._predictor(read_estimator(folder), bundle)

    def _predictor(self, estimator: Any, bundle: Bundle) -> Predictor:
        require_floor(self.floor, bundle.n_outputs)
        if bundle.task == "regression":
            return SklearnPredictor(estimator, values, 1, forest_of_values)
        read = partial(log_votes, floor=self.floor)
        inside = partial(forest_of_votes, floor=self.floor)
        return SklearnPredictor(estimator, read, bundle.n_outputs, inside)


@dataclass(frozen=True)
class SVM:
    """A support vector machine with a Gaussian kernel; outputs are decision values.

    A binary value `d` becomes `[-d/2, d/2]`. Several classes are one machine against the rest
    each, for the votes of pairwise machines jump and would hide most of what a removal changes. A
    regressor is fitted to standardised values. Cortes & Vapnik 1995.
    """

    differentiable: ClassVar[bool] = False
    trains: ClassVar[bool] = True
    gives: ClassVar[tuple[str, ...]] = ()
    C: float = 1.0
    gamma: float | str = "scale"

    def train(self, bundle: Bundle, *, seed: int, on_epoch: OnEpoch) -> Trained:
        estimator = self._estimator(bundle)
        fit_estimator(estimator, bundle, "svm")
        return Trained(self._predictor(estimator, bundle))

    def save(self, predictor: Predictor, folder: Path) -> None:
        write_estimator(predictor, folder)

    def load(self, bundle: Bundle, folder: Path) -> Predictor:
        return self._predictor(read_estimator(folder), bundle)

    def _estimator(self, bundle: Bundle) -> Any:
        from sklearn.compose import TransformedTargetRegressor
        from sklearn.multiclass import OneVsRestClassifier
        from sklearn.preprocessing import StandardScaler
        from sklearn.svm import SVC, SVR

        if bundle.task == "regression":
            machine = SVR(C=self.C, gamma=self.gamma)
            return TransformedTargetRegressor(machine, transformer=StandardScaler())
        machine = SVC(C=self.C, gamma=self.gamma)
        return machine if bundle.n_outputs == 2 else OneVsRestClassifier(machine, n_jobs=1)

    def _predictor(self, estimator: Any, bundle: Bundle) -> Predictor:
        read = values if bundle.task == "regression" else decisions
        return SklearnPredictor(estimator, read, bundle.n_outputs)


def fit_estimator(estimator: Any, bundle: Bundle, name: str) -> None:
    """Fit to the training part."""
    require_fit(bundle, name)
    fit_rows(estimator, _rows(bundle.train.x), bundle.train.y.numpy())


def require_fit(bundle: Bundle, name: str) -> None:
    """Raise `Unsupported` where the training part is not what the model can learn from."""
    part = bundle.train
    if part.context:
        raise Unsupported(f"{name} takes x alone, but this data comes with {sorted(part.context)}")
    n_classes = len(part.y.unique())
    if bundle.task == "classification" and n_classes < bundle.n_outputs:
        raise Unsupported(
            f"{name} needs every class in the training part; it holds {n_classes} of "
            f"{bundle.n_outputs}: use more rows, or other fractions"
        )


def fit_rows(estimator: Any, rows: Floats, labels: npt.NDArray[Any]) -> None:
    """Fit on one thread, for sums in another order would give other bits."""
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    with threadpool_limits(1):
        estimator.fit(rows, labels)


def _rows(x: Tensor) -> Floats:
    return x.detach().flatten(1).double().numpy()


def values(estimator: Any, rows: Floats) -> Floats:
    return np.asarray(estimator.predict(rows), dtype=np.float64)[:, None]


def require_floor(floor: float, n_classes: int) -> None:
    """Raise where the floor of all classes leaves nothing for the votes."""
    if not 0 <= floor < 1 / n_classes:
        raise ValueError(
            f"floor {floor} leaves nothing to the votes for {n_classes} classes; "
            f"set model.floor from 0 to below 1/{n_classes}"
        )


def mixed(votes: Floats, floor: float) -> Floats:
    """`[..., C]` probabilities, none below `floor`."""
    found: Floats = floor + (1 - votes.shape[-1] * floor) * votes
    return found


def log_votes(estimator: Any, rows: Floats, floor: float) -> Floats:
    """`[B, C]`: logarithms of the mixed votes; minus infinity where there is none and no floor."""
    with np.errstate(divide="ignore"):
        return np.log(mixed(estimator.predict_proba(rows), floor))


def forest_of_values(estimator: Any, column: Column) -> Structure:
    """Of a regressor: the mean of its trees."""
    trees = [nodes_of(tree.tree_) for tree in estimator.estimators_]
    return stacked(trees, 1 / len(trees))


def forest_of_votes(estimator: Any, column: Column, floor: float) -> Structure:
    """Of a classifier: the trees add up to probabilities."""
    if column == "outputs":
        raise Unsupported(
            "the trees of a forest add up to probabilities, and their logarithm is explained: "
            "use target=predicted_probability"
        )
    trees = [nodes_of(tree.tree_) for tree in estimator.estimators_]
    share = 1 - estimator.n_classes_ * floor
    return stacked(trees, share / len(trees))


def decisions(estimator: Any, rows: Floats) -> Floats:
    values: Floats = estimator.decision_function(rows)
    return np.stack([-values / 2, values / 2], 1) if values.ndim == 1 else values


def _linear_network(bundle: Bundle) -> nn.Sequential:
    with torch.device("meta"):
        head = nn.Linear(bundle.train.x[0].numel(), bundle.n_outputs)
        return nn.Sequential(OrderedDict(flatten=nn.Flatten(), head=head))


def linear_weights(estimator: Any, n_outputs: int) -> dict[str, Tensor]:
    weight = torch.as_tensor(np.atleast_2d(estimator.coef_))
    bias = torch.as_tensor(np.atleast_1d(estimator.intercept_))
    if len(weight) < n_outputs:
        weight, bias = torch.cat([-weight, weight]) / 2, torch.cat([-bias, bias]) / 2
    return {"head.weight": weight, "head.bias": bias}


def write_estimator(predictor: Predictor, folder: Path) -> None:
    import skops.io

    if not isinstance(predictor, SklearnPredictor):
        raise ValueError(f"expected a SklearnPredictor to save; found {type(predictor).__name__}")
    skops.io.dump(predictor.estimator, folder / _FILE)


def read_estimator(folder: Path) -> Any:
    """Read it back; only types of scikit-learn and numpy may be in the file."""
    import skops.io

    types = skops.io.get_untrusted_types(file=folder / _FILE)
    foreign = [name for name in types if not name.startswith(("sklearn.", "numpy."))]
    if foreign:
        raise ValueError(f"{folder / _FILE} holds {foreign}; only scikit-learn is expected there")
    return skops.io.load(folder / _FILE, trusted=types)
