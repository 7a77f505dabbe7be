"""LIME for tables: a unit counts as kept where it is in the sample's own quarter of the data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xai_bench.core import coalitions, units
from xai_bench.core.tokens import require_numbers
from xai_bench.explainers.estimates import BudgetedExplainer, require_ascending
from xai_bench.explainers.removal.engine import budget_too_small
from xai_bench.explainers.removal.regression import regress_on_members
from xai_bench.types import Explanation, Inputs, Kind, Model, Rng, Rows

_N_BINS = 4
"""Quarters of the data; an element with no more values than these keeps them as they are."""


@dataclass(frozen=True)
class TabularLIME(BudgetedExplainer):
    """Coefficients of a ridge regression of the output on which units stay in the sample's bin.

    Each unit is replaced by that of a random background row; it counts as kept where every element
    falls into the same quarter of the background as the sample's. A draw weighs
    `exp(-d^2 / (width^2 U))`, with `d` the Euclidean distance from all kept. The first draw is the
    sample itself. Needs no baseline. Errors are around the limit of large budgets, in which no
    ridge is left. Ribeiro+ 2016.
    """

    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "surrogate"
    paper: ClassVar[str] = "Ribeiro+ 2016, arXiv:1602.04938"
    version: ClassVar[int] = 3
    # Drawn columns correlate by chance.
    breaks_axioms: ClassVar[tuple[str, ...]] = ("dummy", "symmetry")

    budget: int = 5000
    # Times the root of U: the width of the lime library, whose kernel is the root of this one.
    width: float = 0.75
    ridge: float = 1.0

    def anytime(
        self, model: Model, inputs: Inputs, targets: Tensor, budgets: Sequence[int], *, rng: Rng
    ) -> Iterator[Explanation]:
        """One explanation per budget, ascending, in one run.

        Raises `Unsupported` where a budget has no more rows than there are units, ValueError where
        budgets do not ascend.
        """
        require_ascending(budgets)
        require_numbers(inputs.domain, "lime_quartiles")
        n_samples, n_units = len(inputs), units.width(inputs.units)
        kept = torch.zeros(n_samples, 0, n_units, dtype=torch.bool)
        values = torch.zeros(n_samples, 0, dtype=torch.float64)
        for budget in budgets:
            if budget <= n_units:
                raise budget_too_small(budget, n_units + 1, n_units)
            drawn = _drawn(model, inputs, targets, (values.shape[1], budget), rng)
            kept, values = torch.cat([kept, drawn[0]], dim=1), torch.cat([values, drawn[1]], dim=1)
            yield self._explanation(inputs, kept, values)

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        """One row per draw."""
        return Rows(self.budget)

    def _explanation(self, inputs: Inputs, kept: Tensor, values: Tensor) -> Explanation:
        """From `kept [B, K, U]` bool and the values `[B, K]` of the draws."""
        if not self.width > 0:
            raise ValueError(f"the kernel's width is {self.width}; expected a number above 0")
        counts = units.count(inputs.units)[:, None].double()
        weight = torch.exp(-(~kept).sum(2) / (self.width**2 * counts))
        fit = regress_on_members(kept, values, weight, self.ridge)
        assert fit.errors is not None
        spread = [units.spread(v, inputs.units) for v in (fit.values, fit.errors)]
        degrees = torch.as_tensor(fit.degrees_of_freedom)
        values, errors = (part.to(inputs.x.dtype) for part in spread)
        return Explanation(values, errors, degrees_of_freedom=degrees)


def _drawn(
    model: Model, inputs: Inputs, targets: Tensor, span: tuple[int, int], rng: Rng
) -> tuple[Tensor, Tensor]:
    """`[B, k, U]` bool and `[B, k]`: the draws from `span[0]` up to `span[1]` and their values."""
    per_call = max(model.max_rows // len(inputs), 1)
    kept, values = [], []
    for first in range(*span, per_call):
        draws = range(first, min(first + per_call, span[1]))
        points = torch.stack([_point(inputs, k, rng) for k in draws], dim=1)
        kept.append(_kept(inputs, points))
        values.append(coalitions.values_at(model, inputs, targets, points))
    return torch.cat(kept, dim=1), torch.cat(values, dim=1)


def _point(inputs: Inputs, draw: int, rng: Rng) -> Tensor:
    """`[B, *S]`: the sample itself, or every unit from a background row of its own."""
    if draw == 0:
        return inputs.x
    background = inputs.domain.background.to(inputs.x).flatten(1)
    # Unit by unit, as the lime library draws: the columns of the regression are independent.
    row = rng.child("row", draw).integers(len(background), units.width(inputs.units))
    rows = units.lookup(row[:, None], inputs.units).flatten(1)
    mixed = background.gather(0, rows).view_as(inputs.x)
    return torch.where(inputs.units < 0, inputs.x, mixed)


def _kept(inputs: Inputs, points: Tensor) -> Tensor:
    """`[B, k, *S] -> [B, k, U]` bool: the units all of whose elements are in the sample's bin."""
    ordered = inputs.domain.background.to(inputs.x).sort(dim=0).values
    edges = ordered[[len(ordered) * q // 4 for q in (1, 2, 3)]]
    is_discrete = (ordered.diff(dim=0) != 0).sum(0) < _N_BINS
    other_bin = _bin(points, edges) != _bin(inputs.x, edges)[:, None]
    differs = torch.where(is_discrete, points != inputs.x[:, None], other_bin)
    layout = inputs.units.repeat_interleave(points.shape[1], 0)
    n_differing = units.pool(differs.double().flatten(0, 1), layout)
    kept: Tensor = (n_differing == 0).unflatten(0, points.shape[:2])
    return kept


def _bin(values: Tensor, edges: Tensor) -> Tensor:
    """Which quarter of the background each value lies in, 0 to 3."""
    return (values[..., None] > edges.movedim(0, -1)).sum(-1)
