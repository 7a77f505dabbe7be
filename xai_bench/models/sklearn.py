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

from xai_bench.data.bundle import Bundle
from xai_bench.models.base import OnEpoch, Predictor, TorchPredictor, Trained
from xai_bench.models.weights import allocate, read_weights, write_weights
from xai_bench.seeds import Seeds
from xai_bench.types import Unsupported

Floats = npt.NDArray[np.float64]
_FILE = "estimator.skops"


@dataclass(frozen=True, eq=False)
class SklearnPredictor:
    """A fitted estimator and how its outputs are read: `read(estimator, rows [B, F]) -> [B, C]`."""

    estimator: Any
    read: Callable[[Any, Floats], Floats]
    n_outputs: int
    differentiable: bool = False
    module: None = None

    def __call__(self, x: Tensor, context: Mapping[str, Tensor]) -> Tensor:
        return torch.from_numpy(self.read(self.estimator, _rows(x))).to(x.dtype)


@dataclass(frozen=True)
class Linear:
    """Logistic regression, or linear regression with an L2 penalty; differentiable.

    A binary score `z` becomes the logits `[-z/2, z/2]`.
    """

    needs: ClassVar[tuple[str, ...]] = ()
    differentiable: ClassVar[bool] = True
    trains: ClassVar[bool] = True
    version: ClassVar[int] = 1
    l2: float = 1.0

    def train(self, bundle: Bundle, *, seed: int, on_epoch: OnEpoch) -> Trained:
        from sklearn.linear_model import LogisticRegression, Ridge

        if bundle.task == "regression":
            estimator: Any = Ridge(alpha=self.l2)
        else:
            estimator = LogisticRegression(C=1 / self.l2, max_iter=10_000)
        _fit(estimator, bundle, "linear")
        network = _linear_network(bundle)
        allocate(network, bundle).load_state_dict(_linear_weights(estimator, bundle.n_outputs))
        return Trained(TorchPredictor(network, bundle.n_outputs))

    def save(self, predictor: Predictor, folder: Path) -> None:
        write_weights(predictor, folder)

    def load(self, bundle: Bundle, folder: Path) -> Predictor:
        return read_weights(_linear_network(bundle), bundle, folder)


@dataclass(frozen=True)
class RandomForest:
    """A random forest; class outputs are log-probabilities, not below `log(floor)`.

    Trees often give a class no vote at all, so without a floor one logit in many would be minus
    infinity. Breiman 2001.
    """

    needs: ClassVar[tuple[str, ...]] = ()
    differentiable: ClassVar[bool] = False
    trains: ClassVar[bool] = True
    version: ClassVar[int] = 1
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
        _fit(estimator, bundle, "random_forest")
        return Trained(self._predictor(estimator, bundle))

    def save(self, predictor: Predictor, folder: Path) -> None:
        _write_estimator(predictor, folder)

    def load(self, bundle: Bundle, folder: Path) -> Predictor:
        return self._predictor(_read_estimator(folder), bundle)

    def _predictor(self, estimator: Any, bundle: Bundle) -> Predictor:
        votes = partial(_log_votes, floor=self.floor)
        read = _values if bundle.task == "regression" else votes
        return SklearnPredictor(estimator, read, bundle.n_outputs)


@dataclass(frozen=True)
class SVM:
    """A support vector machine with a Gaussian kernel; outputs are decision values.

    A binary value `d` becomes `[-d/2, d/2]`. Several classes are one machine against the rest
    each, for the votes of pairwise machines jump and would hide most of what a removal changes. A
    regressor is fitted to standardised values. Cortes & Vapnik 1995.
    """

    needs: ClassVar[tuple[str, ...]] = ()
    differentiable: ClassVar[bool] = False
    trains: ClassVar[bool] = True
    version: ClassVar[int] = 1
    C: float = 1.0
    gamma: float | str = "scale"

    def train(self, bundle: Bundle, *, seed: int, on_epoch: OnEpoch) -> Trained:
        estimator = self._estimator(bundle)
        _fit(estimator, bundle, "svm")
        return Trained(self._predictor(estimator, bundle))

    def save(self, predictor: Predictor, folder: Path) -> None:
        _write_estimator(predictor, folder)

    def load(self, bundle: Bundle, folder: Path) -> Predictor:
        return self._predictor(_read_estimator(folder), bundle)

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
        read = _values if bundle.task == "regression" else _decisions
        return SklearnPredictor(estimator, read, bundle.n_outputs)


def _fit(estimator: Any, bundle: Bundle, name: str) -> None:
    """Fit on one thread, for sums in another order would give other bits."""
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    part = bundle.train
    if part.context:
        raise Unsupported(f"{name} takes x alone, but this data comes with {sorted(part.context)}")
    n_classes = len(part.y.unique())
    if bundle.task == "classification" and n_classes < bundle.n_outputs:
        raise Unsupported(
            f"{name} needs every class in the training part; it holds {n_classes} of "
            f"{bundle.n_outputs}: use more rows, or other fractions"
        )
    with threadpool_limits(1):
        estimator.fit(_rows(part.x), part.y.numpy())


def _rows(x: Tensor) -> Floats:
    return x.detach().flatten(1).double().numpy()


def _values(estimator: Any, rows: Floats) -> Floats:
    return np.asarray(estimator.predict(rows), dtype=np.float64)[:, None]


def _log_votes(estimator: Any, rows: Floats, floor: float) -> Floats:
    votes: Floats = estimator.predict_proba(rows)
    return np.log(np.maximum(votes, floor))


def _decisions(estimator: Any, rows: Floats) -> Floats:
    values: Floats = estimator.decision_function(rows)
    return np.stack([-values / 2, values / 2], 1) if values.ndim == 1 else values


def _linear_network(bundle: Bundle) -> nn.Sequential:
    with torch.device("meta"):
        head = nn.Linear(bundle.train.x[0].numel(), bundle.n_outputs)
        return nn.Sequential(OrderedDict(flatten=nn.Flatten(), head=head))


def _linear_weights(estimator: Any, n_outputs: int) -> dict[str, Tensor]:
    weight = torch.as_tensor(np.atleast_2d(estimator.coef_))
    bias = torch.as_tensor(np.atleast_1d(estimator.intercept_))
    if len(weight) < n_outputs:
        weight, bias = torch.cat([-weight, weight]) / 2, torch.cat([-bias, bias]) / 2
    return {"head.weight": weight, "head.bias": bias}


def _write_estimator(predictor: Predictor, folder: Path) -> None:
    import skops.io

    if not isinstance(predictor, SklearnPredictor):
        raise ValueError(f"expected a SklearnPredictor to save; found {type(predictor).__name__}")
    skops.io.dump(predictor.estimator, folder / _FILE)


def _read_estimator(folder: Path) -> Any:
    """Read it back; only types of scikit-learn and numpy may be in the file."""
    import skops.io

    types = skops.io.get_untrusted_types(file=folder / _FILE)
    foreign = [name for name in types if not name.startswith(("sklearn.", "numpy."))]
    if foreign:
        raise ValueError(f"{folder / _FILE} holds {foreign}; only scikit-learn is expected there")
    return skops.io.load(folder / _FILE, trusted=types)
