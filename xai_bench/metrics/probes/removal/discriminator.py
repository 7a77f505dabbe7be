"""Can the points of a removal curve be told from data?"""

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
class LooksLessReal:
    """`[B, M * R]`: share of real rows that look more like data than each point of the curve.

    The judge is a k-nearest-neighbour rule: a point looks like data as far as it is nearer to real
    rows than to fakes. Fakes are background rows without the very units that the curve removes from
    the sample, filled by draws of their own. Two folds: real rows are judged by the other half of
    the rows and its fakes. Runs no model; takes `M * R * n_rows` fills.
    """

    shared: ClassVar[bool] = False
    baseline: Baseline
    k: int = 3
    n_rows: int = 64
    fractions: tuple[float, ...] = FRACTIONS

    def measure(self, case: Case) -> Tensor:
        n_rows = min(self.n_rows, len(case.inputs.domain.background)) // 2 * 2
        if n_rows < 4:
            raise Unsupported("to tell points from data takes at least four background rows")
        each = kept_on_curve(case, self.fractions).split(1, dim=1)
        return torch.cat([self._judged(case, kept, n_rows) for kept in each], dim=1)

    def _judged(self, case: Case, kept: Tensor, n_rows: int) -> Tensor:
        """`kept [B, 1, U] -> [B, R]`, few enough samples at a time."""
        curve = case.rng.child("removal_curves")
        some = coalitions.points(case.inputs, kept, self.baseline, rng=curve)[:, 0]
        height = max(case.model.max_rows // (n_rows * some.shape[1]), 1)
        parts = []
        for rows in torch.arange(len(kept)).split(height):
            part, rng = case.inputs.take(rows), case.rng.child("fakes").take(rows)
            fakes = self._fakes(part, kept[rows], n_rows, rng)
            parts.append(self._share(part, some[rows], fakes))
        return torch.cat(parts)

    def _fakes(self, inputs: Inputs, kept: Tensor, n_rows: int, rng: Rng) -> Tensor:
        """`[b, n, *S]`: background row `n` without what is not kept, filled by draw `n mod R`."""
        background = inputs.domain.background[:n_rows].to(inputs.x)
        stacked = inputs.stacked(background.expand(len(inputs), *background.shape))
        rows = torch.arange(len(inputs)).repeat_interleave(n_rows)
        drawn = coalitions.points(stacked, kept[rows], self.baseline, rng=rng.take(rows))[:, 0]
        place = torch.arange(len(drawn))
        chosen = drawn[place, place % n_rows % drawn.shape[1]]
        return chosen.view(len(inputs), n_rows, *inputs.x.shape[1:])

    def _share(self, inputs: Inputs, points: Tensor, fakes: Tensor) -> Tensor:
        """`points [b, R, *S], fakes [b, n, *S] -> [b, R]`, the mean over both folds."""
        data = inputs.domain.background[: fakes.shape[1]].expand(fakes.shape)
        judged, fake, real = (standardised(inputs, rows) for rows in (points, fakes, data))
        half = fakes.shape[1] // 2
        parts: list[Tensor] = []
        for ours, others in ((slice(half), slice(half, None)), (slice(half, None), slice(half))):
            seen = torch.cat([judged, real[:, others]], dim=1)
            near = [distances(seen, rows[:, ours], min(self.k, half)) for rows in (fake, real)]
            # 1 beside a real row, 0 beside a fake, 1/2 where both are as near.
            looks = torch.nan_to_num(near[0] / (near[0] + near[1]), nan=0.5)
            found, usual = looks.split([judged.shape[1], half], dim=1)
            above = (usual[:, None] > found[..., None]).double()
            parts.append((above + 0.5 * (usual[:, None] == found[..., None])).mean(2))
        return (parts[0] + parts[1]) / 2
