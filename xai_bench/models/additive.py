"""A generalised additive model: a sum of curves of single columns."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from xai_bench.data.bundle import Bundle
from xai_bench.models.base import OnEpoch, Predictor, TorchPredictor, Trained
from xai_bench.models.sklearn import fit_rows, linear_weights, require_fit
from xai_bench.models.weights import allocate, read_weights, write_weights


@dataclass(frozen=True)
class Additive:
    """Logistic or linear regression on broken lines of single elements; differentiable.

    A curve bends at `n_knots` quantiles of its element and goes on straight beyond them. It is a
    network whose hidden units listen to one element each, so layer-wise methods apply. Hastie &
    Tibshirani 1986.
    """

    differentiable: ClassVar[bool] = True
    trains: ClassVar[bool] = True
    gives: ClassVar[tuple[str, ...]] = ("glass_box",)
    n_knots: int = 8
    l2: float = 1.0

    def train(self, bundle: Bundle, *, seed: int, on_epoch: OnEpoch) -> Trained:
        from sklearn.linear_model import LogisticRegression, Ridge

        require_fit(bundle, "additive")
        if self.n_knots < 1:
            raise ValueError(f"found n_knots {self.n_knots}; a curve bends at least once")
        network = allocate(self._network(bundle), bundle)
        hidden = _bends(bundle.train.x.flatten(1).double(), self.n_knots)
        bent = (bundle.train.x.flatten(1).double() @ hidden["weight"].T + hidden["bias"]).relu()
        if bundle.task == "regression":
            estimator: Any = Ridge(alpha=self.l2)
        else:
            estimator = LogisticRegression(C=1 / self.l2, max_iter=10_000)
        fit_rows(estimator, bent.numpy(), np.asarray(bundle.train.y))
        head = linear_weights(estimator, bundle.n_outputs)
        state = {f"features.0.{name}": value for name, value in hidden.items()}
        network.load_state_dict(state | head)
        return Trained(TorchPredictor(network, bundle.n_outputs))

    def save(self, predictor: Predictor, folder: Path) -> None:
        write_weights(predictor, folder)

    def load(self, bundle: Bundle, folder: Path) -> Predictor:
        return read_weights(self._network(bundle), bundle, folder)

    def _network(self, bundle: Bundle) -> nn.Sequential:
        n_elements = bundle.train.x[0].numel()
        n_hidden = n_elements * (self.n_knots + 1)
        with torch.device("meta"):
            named: OrderedDict[str, nn.Module] = OrderedDict(
                flatten=nn.Flatten(),
                features=nn.Sequential(nn.Linear(n_elements, n_hidden), nn.ReLU()),
                head=nn.Linear(n_hidden, bundle.n_outputs),
            )
        return nn.Sequential(named)


def _bends(rows: Tensor, n_knots: int) -> dict[str, Tensor]:
    """Hidden units `relu(x - knot)` for every knot, and `relu(knot - x)` for the first."""
    levels = torch.arange(1, n_knots + 1, dtype=rows.dtype) / (n_knots + 1)
    knots = rows.quantile(levels, dim=0).T
    sign = torch.ones(n_knots + 1, dtype=rows.dtype)
    sign[0] = -1
    n_elements = len(knots)
    weight = (torch.eye(n_elements, dtype=rows.dtype)[:, None] * sign[:, None]).flatten(0, 1)
    bias = -sign * torch.cat([knots[:, :1], knots], dim=1)
    return {"weight": weight, "bias": bias.flatten()}
