"""A generalised additive model: a sum of curves of single columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from xai_bench.data.bundle import Bundle
from xai_bench.models.base import OnEpoch, Trained
from xai_bench.models.estimators import require_fit
from xai_bench.models.fitting.weights import NetworkRecipe, sequence, with_weights
from xai_bench.models.sklearn import fit_linear


@dataclass(frozen=True)
class Additive(NetworkRecipe):
    """Logistic or linear regression on piecewise linear curves of single elements; differentiable.

    A curve bends at `n_knots` quantiles of its element and is straight beyond them. It is a network
    whose hidden units read one element each, so layer-wise methods apply. Hastie & Tibshirani 1986.
    """

    gives: ClassVar[tuple[str, ...]] = ("glass_box",)
    n_knots: int = 8
    l2: float = 1.0

    def train(self, bundle: Bundle, *, seed: int, on_epoch: OnEpoch) -> Trained:
        """Fix the bends at quantiles of the training rows, then fit the last layer.

        Raises ValueError where `n_knots` is below 1.
        """
        require_fit(bundle, "additive")
        if self.n_knots < 1:
            raise ValueError(f"found n_knots {self.n_knots}; a curve bends at least once")
        # float64, as scikit-learn fits: the weights are rounded once, when the network gets them.
        rows = bundle.train.x.flatten(1).double()
        hidden = _bends(rows, self.n_knots)
        bent = (rows @ hidden["weight"].T + hidden["bias"]).relu()
        # Only the last layer is fitted: with fixed bends the curves are a convex problem.
        head = fit_linear(bent.numpy(), bundle, self.l2)
        state = {f"features.0.{name}": value for name, value in hidden.items()}
        return Trained(with_weights(self.network(bundle), bundle, state | head))

    def network(self, bundle: Bundle) -> nn.Sequential:
        """A hidden layer of bends, ReLU, and a linear layer."""
        n_elements = bundle.train.x[0].numel()
        n_hidden = n_elements * (self.n_knots + 1)
        with torch.device("meta"):
            parts = {
                "flatten": nn.Flatten(),
                "features": nn.Sequential(nn.Linear(n_elements, n_hidden), nn.ReLU()),
                "head": nn.Linear(n_hidden, bundle.n_outputs),
            }
        return sequence(parts)


def _bends(rows: Tensor, n_knots: int) -> dict[str, Tensor]:
    """Hidden units `relu(x - knot)` for every knot, and `relu(knot - x)` for the first.

    `rows [N, F]` -> `weight [F * (n_knots + 1), F]` and `bias` of the hidden layer. The unit that
    falls towards the first knot gives the curve a slope below it.
    """
    # Inner quantiles: beyond the smallest and the largest row a bend would rest on no data.
    levels = torch.arange(1, n_knots + 1, dtype=rows.dtype) / (n_knots + 1)
    knots = rows.quantile(levels, dim=0).T
    sign = torch.ones(n_knots + 1, dtype=rows.dtype)
    sign[0] = -1
    n_elements = len(knots)
    weight = (torch.eye(n_elements, dtype=rows.dtype)[:, None] * sign[:, None]).flatten(0, 1)
    # [F, n_knots + 1]: the first knot twice, for the unit that falls and the first that rises.
    bias = -sign * torch.cat([knots[:, :1], knots], dim=1)
    return {"weight": weight, "bias": bias.flatten()}
