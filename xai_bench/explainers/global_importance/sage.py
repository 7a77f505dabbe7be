"""SAGE: what knowing a unit is worth to the model's accuracy."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from xai_bench.core import units
from xai_bench.explainers.global_importance.class_outputs import of_layout
from xai_bench.explainers.global_importance.permutation import require_variation
from xai_bench.types import Explanation, Inputs, Kind, Model, Rng, Rows, Unsupported


@dataclass(frozen=True)
class SAGE:
    """Shapley values of the fall of the loss as units become known, over the labelled background.

    An unknown unit is that of references, over which predictions are averaged: probabilities under
    cross-entropy, values under the squared error. `n_orders` random orders of the units, each on
    one background row, all rows equally often; the standard error is that of their mean. Below 0: a
    unit that misleads. Every sample gets the same explanation. Covert+ 2020.
    """

    kind: ClassVar[Kind] = "ranking"
    category: ClassVar[str] = "global_importance"
    paper: ClassVar[str] = "Covert+ 2020, arXiv:2004.00668"

    n_orders: int = 256
    n_references: int = 32
    importance: Tensor | None = field(default=None, compare=False, repr=False)
    error: Tensor | None = field(default=None, compare=False, repr=False)
    layout: Tensor | None = field(default=None, compare=False, repr=False)

    @torch.no_grad()
    def fit(self, model: Model, background: Inputs, *, rng: Rng) -> SAGE:
        """Ready to explain. Takes `n_orders * (U + 1) * R` rows, `R` no more than there are."""
        require_variation(background)
        labels = background.domain.labels
        if labels is None:
            raise Unsupported("SAGE credits units with accuracy; this background has no labels")
        if self.n_orders < 2 or self.n_references < 1:
            raise ValueError(
                f"found n_orders {self.n_orders}, n_references {self.n_references}; "
                "give at least 2 and 1"
            )
        n_units = units.width(background.units)
        rank = rng.child("orders").uniform(self.n_orders, n_units)[0].argsort(1)
        row = torch.arange(self.n_orders) % len(background)
        known = rank[:, None] < torch.arange(n_units + 1)[:, None]
        references = _references(background, self.n_references, rng)
        loss = _losses(model, background.take(row), known, references, labels[row])
        gain = -loss.diff(dim=1).gather(1, rank)
        error = gain.std(0) / self.n_orders**0.5
        spread = [units.spread(g[None], background.units[:1])[0] for g in (gain.mean(0), error)]
        return replace(self, importance=spread[0], error=spread[1], layout=background.units[0])

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        if self.importance is None or self.error is None or self.layout is None:
            raise ValueError("SAGE has nothing to tell before fit; call fit first")
        importance = of_layout(self.importance, self.layout, inputs)
        return Explanation(importance, of_layout(self.error, self.layout, inputs))

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        return Rows(0)


def _references(background: Inputs, n_references: int, rng: Rng) -> Tensor:
    """`[R, *S]`: background rows, all of them where there are no more."""
    if n_references >= len(background):
        return background.x
    return background.x[
        rng.child("references").uniform(len(background))[0].argsort()[:n_references]
    ]


def _losses(
    model: Model, rows: Inputs, known: Tensor, references: Tensor, labels: Tensor
) -> Tensor:
    """`known [n, K, U] -> [n, K]` float64: the loss of a row of which only these are known."""
    n_rows, n_sets = known.shape[:2]
    parts = []
    for some in torch.arange(n_rows * n_sets).split(max(model.max_rows // len(references), 1)):
        part = rows.take(some // n_sets)
        stays = units.stays(known.flatten(0, 1)[some][:, None], part.units)
        points = part.stacked(torch.where(stays, part.x[:, None], references))
        flat = torch.arange(len(points)).split(model.max_rows)
        out = torch.cat([model.outputs(points.take(f)) for f in flat]).double()
        parts.append(_loss(out.unflatten(0, (len(some), -1)), labels[some // n_sets]))
    return torch.cat(parts).view(n_rows, n_sets)


def _loss(outputs: Tensor, labels: Tensor) -> Tensor:
    """`[m, R, C], [m] -> [m]`, of the mean prediction."""
    if labels.is_floating_point() or outputs.shape[2] == 1:
        return (outputs[..., 0].mean(1) - labels) ** 2
    likely = outputs.log_softmax(2).logsumexp(1) - math.log(outputs.shape[1])
    return functional.nll_loss(likely, labels, reduction="none")
