"""SAGE: what knowing a unit is worth to the model's accuracy."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from xai_bench.core import units
from xai_bench.core.calls.model_outputs import outputs
from xai_bench.explainers.global_importance.fitted_importance import (
    FittedImportance,
    GlobalImportance,
    require_variation,
)
from xai_bench.types import Inputs, Kind, Model, Rng, Unsupported


@dataclass(frozen=True)
class SAGE(GlobalImportance):
    """Shapley values of the fall of the loss as units become known, over the labelled background.

    An unknown unit is that of references, over which predictions are averaged: probabilities under
    cross-entropy, values under the squared error. `n_orders` random orders of the units, each on
    one background row, all rows equally often; the standard error is that of their mean. Below 0: a
    unit that misleads. Every sample gets the same explanation. Covert+ 2020.
    """

    kind: ClassVar[Kind] = "ranking"
    category: ClassVar[str] = "global_importance"
    needs: ClassVar[tuple[str, ...]] = ("background", "labels", "shared_units")
    paper: ClassVar[str] = "Covert+ 2020, arXiv:2004.00668"
    # Rows in which columns differ; losses do not add up.
    breaks_axioms: ClassVar[tuple[str, ...]] = ("symmetry", "linearity")

    n_orders: int = 256
    n_references: int = 32

    def fit(self, model: Model, background: Inputs, *, rng: Rng) -> SAGE:
        """The explainer with its importance; takes `n_orders * (U + 1) * R` rows.

        `R` is `n_references`, or the number of background rows where that is smaller. Raises
        `Unsupported` without labels or where all rows are equal, ValueError for settings that
        leave no standard error.
        """
        require_variation(background)
        labels = background.domain.labels
        if labels is None:
            raise Unsupported(
                "SAGE credits units with accuracy, and this background has no labels: from Python, "
                "workbench(..., background=, background_labels=)"
            )
        if self.n_orders < 2 or self.n_references < 1:
            raise ValueError(
                f"found n_orders {self.n_orders}, n_references {self.n_references}; "
                "give at least 2 and 1"
            )
        n_units = units.width(background.units)
        # Orders by Monte Carlo, as in the paper: an exact value would take all coalitions of every
        # row.
        rank = rng.child("orders").uniform(self.n_orders, n_units)[0].argsort(1)
        # Rows take turns, so that estimates do not differ by which rows they happened to draw.
        row = torch.arange(self.n_orders) % len(background)
        kept = rank[:, None] < torch.arange(n_units + 1)[:, None]
        references = _references(background, self.n_references, rng)
        loss = _losses(model, background.take(row), kept, references, labels[row])
        # The unit of rank k joins between coalitions k and k + 1.
        gain = -loss.diff(dim=1).gather(1, rank)
        error = gain.std(0) / self.n_orders**0.5
        return replace(self, fitted=FittedImportance.of_units(background, gain.mean(0), error))


def _references(background: Inputs, n_references: int, rng: Rng) -> Tensor:
    """`[R, *S]`: background rows, all of them where there are no more."""
    if n_references >= len(background):
        return background.x
    order = rng.child("references").uniform(len(background))[0].argsort()
    return background.x[order[:n_references]]


def _losses(model: Model, rows: Inputs, kept: Tensor, references: Tensor, labels: Tensor) -> Tensor:
    """`kept [n, K, U] -> [n, K]` float64: the loss of a row of which only these units are known."""
    n_rows, n_coalitions = kept.shape[:2]
    losses = []
    per_call = max(model.max_rows // len(references), 1)
    for some in torch.arange(n_rows * n_coalitions).split(per_call):
        part = rows.take(some // n_coalitions)
        stays = units.kept_elements(kept.flatten(0, 1)[some][:, None], part.units)
        points = torch.where(stays, part.x[:, None], references)
        by_reference = outputs(model, part.stacked(points)).unflatten(0, (len(some), -1))
        losses.append(_loss(by_reference, labels[some // n_coalitions]))
    return torch.cat(losses).view(n_rows, n_coalitions)


def _loss(outputs: Tensor, labels: Tensor) -> Tensor:
    """`[m, R, C], [m] -> [m]`, of the mean prediction over references."""
    if labels.is_floating_point() or outputs.shape[2] == 1:
        return (outputs[..., 0].mean(1) - labels) ** 2
    # The mean of probabilities, in logarithms: small ones would vanish in a product.
    log_mean = outputs.log_softmax(2).logsumexp(1) - math.log(outputs.shape[1])
    return functional.nll_loss(log_mean, labels, reduction="none")
