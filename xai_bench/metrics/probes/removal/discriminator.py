"""How well a discriminator tells the points of a removal curve from data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xai_bench.core import coalitions
from xai_bench.metrics.probes.removal.data_distance import (
    FRACTIONS,
    distances,
    kept_on_curve,
    standardised,
)
from xai_bench.types import Baseline, Case, Inputs, Rng, Unsupported


@dataclass(frozen=True)
class DiscriminatorRanks:
    """`[B, M * R]`: share of real rows that look more like data than each point of the curve.

    The discriminator is a k-nearest-neighbour rule: a point looks like data as far as it is nearer
    to real rows than to fakes. Fakes are background rows without the very units that the curve
    removes from the sample, filled by draws of their own. Two folds: real rows are ranked by the
    other half of the rows and its fakes. Runs no model; takes `M * R * n_rows` fills. Raises
    `Unsupported` for fewer than four background rows.
    """

    shared: ClassVar[bool] = False
    baseline: Baseline
    k: int = 3
    n_rows: int = 64
    fractions: tuple[float, ...] = FRACTIONS

    def measure(self, case: Case) -> Tensor:
        """`[B, M * R]`, from 0 to 1, for `M` fractions and `R` references."""
        # An even number, for two folds of the same size.
        n_rows = min(self.n_rows, len(case.inputs.domain.background)) // 2 * 2
        if n_rows < 4:
            raise Unsupported("a discriminator needs at least four background rows")
        coalitions_kept = kept_on_curve(case, self.fractions).split(1, dim=1)
        return torch.cat([self._ranks(case, kept, n_rows) for kept in coalitions_kept], dim=1)

    def _ranks(self, case: Case, kept: Tensor, n_rows: int) -> Tensor:
        """`kept [B, 1, U] -> [B, R]`, few enough samples at a time."""
        curve = case.rng.child("removal_curves")
        points = coalitions.points(case.inputs, kept, self.baseline, rng=curve)[:, 0]
        n_samples = max(case.model.max_rows // (n_rows * points.shape[1]), 1)
        parts = []
        for rows in torch.arange(len(kept)).split(n_samples):
            inputs, rng = case.inputs.take(rows), case.rng.child("fakes").take(rows)
            fakes = self._fakes(inputs, kept[rows], n_rows, rng)
            parts.append(self._share(inputs, points[rows], fakes))
        return torch.cat(parts)

    def _fakes(self, inputs: Inputs, kept: Tensor, n_rows: int, rng: Rng) -> Tensor:
        """`[b, n, *S]`: background row `n` without what is not kept, filled by draw `n mod R`."""
        background = inputs.domain.background[:n_rows].to(inputs.x)
        stacked = inputs.stacked(background.expand(len(inputs), *background.shape))
        # Every fake gets one draw; with R draws the n-th takes the (n mod R)-th.
        rows = torch.arange(len(inputs)).repeat_interleave(n_rows)
        drawn = coalitions.points(stacked, kept[rows], self.baseline, rng=rng.take(rows))[:, 0]
        place = torch.arange(len(drawn))
        chosen = drawn[place, place % n_rows % drawn.shape[1]]
        return chosen.view(len(inputs), n_rows, *inputs.x.shape[1:])

    def _share(self, inputs: Inputs, points: Tensor, fakes: Tensor) -> Tensor:
        """`points [b, R, *S], fakes [b, n, *S] -> [b, R]`, the mean over both folds."""
        data = inputs.domain.background[: fakes.shape[1]].expand(fakes.shape)
        point, fake, real = (standardised(inputs, rows) for rows in (points, fakes, data))
        half = fakes.shape[1] // 2
        parts: list[Tensor] = []
        halves = slice(half), slice(half, None)
        # Out of sample: a real row is its own nearest neighbour.
        for fitted, held_out in (halves, halves[::-1]):
            ranked = torch.cat([point, real[:, held_out]], dim=1)
            to_fake, to_real = (
                distances(ranked, rows[:, fitted], min(self.k, half)) for rows in (fake, real)
            )
            # 1 beside a real row, 0 beside a fake, 1/2 where both are as near.
            likeness = torch.nan_to_num(to_fake / (to_fake + to_real), nan=0.5)
            of_point, of_real = likeness.split([point.shape[1], half], dim=1)
            above = (of_real[:, None] > of_point[..., None]).double()
            parts.append((above + 0.5 * (of_real[:, None] == of_point[..., None]).double()).mean(2))
        return (parts[0] + parts[1]) / 2
