"""Fitted estimators of scikit-learn as predictors: fitting, reading the outputs, storing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from xai_bench.data.bundle import Bundle
from xai_bench.models import skops_types
from xai_bench.models.base import OnEpoch, Predictor, Trained
from xai_bench.types import Column, Structure, Unsupported

Floats = npt.NDArray[np.float64]
_FILE = "estimator.skops"


def no_structure(estimator: Any, column: Column) -> Structure | None:
    """None: the estimator is a black box."""
    return None


@dataclass(frozen=True, eq=False)
class SklearnPredictor:
    """A fitted estimator as a predictor.

    Attributes:
        read: the outputs, `read(estimator, rows [B, F]) -> [B, C]`.
        read_structure: how these outputs come about, for explainers of glass boxes and trees.
    """

    estimator: Any
    read: Callable[[Any, Floats], Floats]
    n_outputs: int
    read_structure: Callable[[Any, Column], Structure | None] = no_structure
    differentiable: bool = False
    module: None = None

    def __call__(self, x: Tensor, context: Mapping[str, Tensor]) -> Tensor:
        return torch.from_numpy(self.read(self.estimator, flat_rows(x))).to(x.dtype)

    def structure(self, column: Column) -> Structure | None:
        """How the outputs or probabilities come about; None for a black box."""
        return self.read_structure(self.estimator, column)


class EstimatorRecipe(ABC):
    """A recipe whose predictor is an estimator of scikit-learn, without gradients.

    Attributes:
        name: what messages call it.
    """

    differentiable: ClassVar[bool] = False
    trains: ClassVar[bool] = True
    name: ClassVar[str]

    @abstractmethod
    def estimator(self, bundle: Bundle, seed: int) -> Any:
        """The estimator for this task, not yet fitted."""

    @abstractmethod
    def predictor(self, estimator: Any, bundle: Bundle) -> Predictor:
        """The fitted estimator as a predictor of logits or values."""

    def train(self, bundle: Bundle, *, seed: int, on_epoch: OnEpoch) -> Trained:
        """Fit to the training part. Raises `Unsupported` where the data does not fit the model."""
        require_fit(bundle, self.name)
        estimator = self.estimator(bundle, seed)
        fit_rows(estimator, flat_rows(bundle.train.x), bundle.train.y.numpy())
        return Trained(self.predictor(estimator, bundle))

    def save(self, predictor: Predictor, folder: Path) -> None:
        """Write the estimator without pickle. Raises ValueError for another kind of predictor."""
        import skops.io

        if not isinstance(predictor, SklearnPredictor):
            name = type(predictor).__name__
            raise ValueError(f"expected a SklearnPredictor to save; found {name}")
        skops.io.dump(predictor.estimator, folder / _FILE)

    def load(self, bundle: Bundle, folder: Path) -> Predictor:
        """Read what `save` wrote; only estimators of scikit-learn may be in the file."""
        if foreign := skops_types.untrusted(folder / _FILE):
            raise ValueError(
                f"{folder / _FILE} holds {foreign}; only scikit-learn is expected there"
            )
        return self.predictor(skops_types.load(folder / _FILE), bundle)


def require_fit(bundle: Bundle, name: str) -> None:
    """Raise `Unsupported` where the training part is not what the model can learn from."""
    part = bundle.train
    if part.context:
        raise Unsupported(f"{name} takes x alone, but this data comes with {sorted(part.context)}")
    # Scikit-learn gives columns to the classes it saw: with one missing, they are other classes.
    n_classes = len(part.y.unique())
    if bundle.task == "classification" and n_classes < bundle.n_outputs:
        raise Unsupported(
            f"{name} needs every class in the training part; it holds {n_classes} of "
            f"{bundle.n_outputs}: use more rows, or other fractions"
        )


def fit_rows(estimator: Any, rows: Floats, labels: npt.NDArray[Any]) -> None:
    """Fit on one thread, because sums in another order give other bits."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        estimator.fit(rows, labels)


def flat_rows(x: Tensor) -> Floats:
    """`[B, *S] -> [B, F]` float64."""
    return x.detach().flatten(1).double().numpy()


def values(estimator: Any, rows: Floats) -> Floats:
    """`[B, 1]`: what a regressor predicts."""
    return np.asarray(estimator.predict(rows), dtype=np.float64)[:, None]


def decisions(estimator: Any, rows: Floats) -> Floats:
    """`[B, C]`: decision values; a binary one `d` becomes `[-d/2, d/2]`."""
    values: Floats = estimator.decision_function(rows)
    return np.stack([-values / 2, values / 2], 1) if values.ndim == 1 else values


def mixed_log_votes(estimator: Any, rows: Floats, floor: float) -> Floats:
    """`[B, C]`: logarithms of the mixed votes; minus infinity for no vote without a floor."""
    with np.errstate(divide="ignore"):
        return np.log(mix_votes(estimator.predict_proba(rows), floor))


def mix_votes(votes: Floats, floor: float) -> Floats:
    """`[..., C]` shares of the votes -> probabilities, none below `floor`."""
    # C floors, and what is left of 1 for the votes: the sum is 1 still.
    return np.asarray(floor + (1 - votes.shape[-1] * floor) * votes, dtype=np.float64)


def require_floor(floor: float, n_classes: int) -> None:
    """Raise ValueError where the floor of all classes leaves nothing for the votes."""
    if not 0 <= floor < 1 / n_classes:
        raise ValueError(
            f"floor {floor} leaves nothing to the votes for {n_classes} classes; "
            f"set model.floor from 0 to below 1/{n_classes}"
        )
