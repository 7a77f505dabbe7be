"""How far from the data the points of a removal curve lie."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xai_bench.core import coalitions, units
from xai_bench.core.tokens import require_numbers
from xai_bench.metrics.probes.removal.curves import counts
from xai_bench.types import Baseline, Case, Inputs, Unsupported

FRACTIONS = (0.1, 0.3, 0.5)


@dataclass(frozen=True)
class DataDistances:
    """`[B, N]`: distance of each background row to the `k`-th nearest of the others.

    Euclidean in standard deviations, over the elements that sample `b` has. Runs no model. Raises
    `Unsupported` for fewer than two background rows.
    """

    shared: ClassVar[bool] = True
    k: int = 5

    def measure(self, case: Case) -> Tensor:
        """`[B, N]` float64; all rows alike where samples share their units."""
        rows = _background(case.inputs)
        # Each row is its own nearest, at exactly 0.
        within = distances(rows, rows, _at_most(self.k, rows.shape[1] - 1) + 1)
        return within.expand(len(case.inputs), -1)


@dataclass(frozen=True)
class CurveDistances:
    """`[B, P]`: distance of the points of a removal curve to their `k`-th nearest background row.

    The `P` points are those at which `RemovalCurves` evaluates the model when the top `ceil(f * U)`
    units are removed, for every fraction and reference. Runs no model.
    """

    shared: ClassVar[bool] = False
    baseline: Baseline
    k: int = 5
    fractions: tuple[float, ...] = FRACTIONS

    def measure(self, case: Case) -> Tensor:
        """`[B, P]` float64, `P` the number of fractions times that of references."""
        inputs, rng = case.inputs, case.rng.child("removal_curves")
        rows = _background(inputs)
        k = _at_most(self.k, rows.shape[1] - 1)
        parts = []
        for kept in kept_on_curve(case, self.fractions).split(1, dim=1):
            points = coalitions.points(inputs, kept, self.baseline, rng=rng)[:, 0]
            flat = standardised(inputs, points).reshape(len(rows), -1, rows.shape[2])
            parts.append(distances(flat, rows, k).view(len(points), -1))
        return torch.cat(parts, dim=1)


def kept_on_curve(case: Case, fractions: tuple[float, ...]) -> Tensor:
    """`[B, M, U]` bool: all but the top units of each fraction, as `RemovalCurves` ranks them."""
    inputs, rng = case.inputs, case.rng.child("removal_curves")
    scores = units.pool(case.attribution.double(), inputs.units)
    rank = units.ranking(scores, inputs.units, rng=rng)
    removed = counts(units.count(inputs.units), tuple(fractions))
    return rank[:, None] >= removed[:, :, None]


def standardised(inputs: Inputs, points: Tensor) -> Tensor:
    """`[B, P, *S] -> [B, P, F]` float64, in standard deviations; 0 in padding."""
    require_numbers(inputs.domain, "a distance from data")
    # Columns in standard deviations, or one measured in metres would drown one in kilometres.
    scaled = points.double() / inputs.domain.scale.double()
    return torch.where((inputs.units < 0)[:, None], 0, scaled).flatten(2)


def distances(points: Tensor, rows: Tensor, k: int) -> Tensor:
    """`[B, P, F], [B, N, F] -> [B, P]`: to the `k`-th nearest row.

    Not by products of matrices, which are quicker but round equal rows apart.
    """
    exact = "donot_use_mm_for_euclid_dist"
    # The k-th, since the nearest alone is at 0 for points that were copied from a row.
    return torch.cdist(points, rows, compute_mode=exact).kthvalue(k, dim=2).values


def _background(inputs: Inputs) -> Tensor:
    """`[B, N, F]` standardised rows; `B` is 1 where all samples share their units."""
    distinct = inputs.take(torch.arange(1 if inputs.units.stride(0) == 0 else len(inputs)))
    rows = inputs.domain.background
    return standardised(distinct, rows.expand(len(distinct), *rows.shape))


def _at_most(k: int, n_others: int) -> int:
    """`k`, or the number of other rows where it is smaller."""
    if n_others < 1:
        raise Unsupported("distances among background rows need at least two of them; found one")
    return min(k, n_others)
