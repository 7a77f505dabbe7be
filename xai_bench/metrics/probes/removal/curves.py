"""The target output while units are removed one after another, in two orders."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xai_bench.core import coalitions, units
from xai_bench.types import Baseline, Case

FRACTIONS = (0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5)
"""ERASER's 1, 5, 10, 20 and 50 %, and steps of 10 % between; the upper half is mirrored."""


@dataclass(frozen=True, slots=True, eq=False)
class Curves:
    """Two curves on one grid of `P` points per sample, from nothing removed to everything.

    Attributes:
        removed: `[B, P]` long, ascending; symmetric under `removed -> n_units - removed`.
        n_units: `[B]` long.
        most_first: `[B, P]`, target output when as many of the highest-ranked units are removed.
        least_first: `[B, P]`, target output when as many of the lowest-ranked units are removed.
    """

    removed: Tensor
    n_units: Tensor
    most_first: Tensor
    least_first: Tensor

    def recorded(self) -> dict[str, Tensor]:
        """Both curves over the share of units removed, for pictures."""
        removed = self.removed.double() / self.n_units[:, None]
        return {"removed": removed, "most_first": self.most_first, "least_first": self.least_first}

    def area(self, curve: Tensor) -> Tensor:
        """`[B, P] -> [B]`: area by trapezoids over the fraction of units removed."""
        # Over shares of units, from nothing to everything: a sum over steps would grow with their
        # number, and without the intact end a first step that does much would count for less.
        return torch.trapezoid(curve, self.removed.double() / self.n_units[:, None], dim=1)

    def at(self, curve: Tensor, removed: Tensor) -> Tensor:
        """`[B, P], [B, M] -> [B, M]`: the curve at numbers of units that are on the grid."""
        return curve.gather(1, torch.searchsorted(self.removed, removed))


@dataclass(frozen=True)
class RemovalCurves:
    """Units ranked by signed pooled attribution are removed from the top and from the bottom.

    The grid holds `ceil(f * U)` units for every fraction, the same mirrored, and both ends. Costs
    `1 + R * (2 * D - 3)` forward rows per sample for `D` distinct points of the grid: no coalition
    is evaluated twice. Both orders and all explainers get the same references.
    """

    shared: ClassVar[bool] = False
    baseline: Baseline
    fractions: tuple[float, ...] = FRACTIONS

    def measure(self, case: Case) -> Curves:
        """Both curves of the case's map."""
        n_units = units.count(case.inputs.units)
        # Samples of different length share columns; what is the same in all of them is merged.
        removed = grid(n_units, self.fractions)
        distinct, column = removed.unique(dim=1, return_inverse=True)
        most_first, least_first = self._values(case, distinct)
        return Curves(removed, n_units, most_first[:, column], least_first[:, column])

    def _values(self, case: Case, removed: Tensor) -> tuple[Tensor, Tensor]:
        """`[B, D]` both curves; the two ends that they share are evaluated once."""
        rng = case.rng.child("removal_curves")
        scores = units.pool(case.attribution.double(), case.inputs.units)
        # The negative is ranked, too, in place of reading one ranking backwards: so the same stream
        # breaks ties at both ends, and the negative of a map has exactly the two curves swapped.
        ranks = [units.ranking(s, case.inputs.units, rng=rng) for s in (scores, -scores)]
        parts = [rank[:, None] >= removed[:, 1:-1, None] for rank in ranks]
        nothing = torch.zeros(*scores.shape, dtype=torch.bool)[:, None]
        kept = torch.cat([*parts, nothing], dim=1)
        values = coalitions.values(
            case.model, case.inputs, case.targets, kept, self.baseline, rng=rng
        )
        intact = coalitions.values_at(case.model, case.inputs, case.targets, case.inputs.x[:, None])
        inner = parts[0].shape[1]
        first, second, empty = values.split([inner, inner, 1], dim=1)
        return torch.cat([intact, first, empty], 1), torch.cat([intact, second, empty], 1)


def counts(n_units: Tensor, fractions: tuple[float, ...]) -> Tensor:
    """`[B] -> [B, M]` long: `ceil(f * U)` for every fraction.

    Less 1e-9, because in floats `0.07 * 100` is above 7 and would become 8.
    """
    shares = torch.tensor(fractions, dtype=torch.float64)
    return (n_units[:, None] * shares - 1e-9).ceil().long()


def grid(n_units: Tensor, fractions: tuple[float, ...]) -> Tensor:
    """`[B] -> [B, P]` long: how many units are removed at each point of a curve, ascending."""
    low = counts(n_units, (0.0, *fractions))
    return torch.cat([low, n_units[:, None] - low], dim=1).sort(dim=1).values
