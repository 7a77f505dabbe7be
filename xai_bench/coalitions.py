"""Model values at many points per sample, and at coalitions of units, in bounded batches.

The one engine behind removal explainers and removal metrics.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from xai_bench import units
from xai_bench.types import Baseline, Imputer, Inputs, Model, Rng


def remove(inputs: Inputs, kept: Tensor, references: Tensor) -> Tensor:
    """`kept [B, K, U]`, `references [B, R, *S] -> [B, K, R, *S]`: x with absent units replaced.

    `kept` is bool, or float where a share of each unit stays and the rest is the reference's.
    Padding elements are never touched.
    """
    x, away = inputs.x[:, None, None], references[:, None]
    if kept.is_floating_point():
        share = units.lookup(kept.to(x), inputs.units)
        share = torch.where((inputs.units < 0)[:, None], 1, share)[:, :, None]
        return away + share * (x - away)
    return torch.where(units.stays(kept, inputs.units)[:, :, None], x, away)


def values(
    model: Model, inputs: Inputs, targets: Tensor, kept: Tensor, baseline: Baseline, *, rng: Rng
) -> Tensor:
    """`kept [B, K, U]` bool `-> [B, K]` float64: mean target output over the baseline's references.

    Takes `K * R` forward rows per sample, at most `model.max_rows` at a time.
    """
    return Game(model, inputs, targets, baseline, rng=rng).values(kept)


def values_each(
    model: Model, inputs: Inputs, targets: Tensor, kept: Tensor, baseline: Baseline, *, rng: Rng
) -> Tensor:
    """`kept [B, K, U]` bool `-> [B, K, R]` float64: the same before the mean over references."""
    return Game(model, inputs, targets, baseline, rng=rng).values_each(kept)


@torch.no_grad()
def values_at(model: Model, inputs: Inputs, targets: Tensor, points: Tensor) -> Tensor:
    """`points [B, K, *S] -> [B, K]` float64: target output at each point; `K` rows per sample."""
    flat_points = inputs.stacked(points)
    flat_targets = targets.repeat_interleave(points.shape[1])
    rows = torch.arange(len(flat_points)).split(model.max_rows)
    parts = [model.target_output(flat_points.take(r), flat_targets[r]) for r in rows]
    return torch.cat(parts).double().view(points.shape[:2])


def points(inputs: Inputs, kept: Tensor, baseline: Baseline, *, rng: Rng) -> Tensor:
    """`kept [B, K, U] -> [B, K, R, *S]`: where `values` looks at the model. All at once."""
    return _Absent(inputs, baseline, rng).fill(torch.arange(len(inputs)), kept)


def departure(inputs: Inputs, baseline: Baseline, *, rng: Rng) -> Tensor | None:
    """`[B, *S]`: x less its mean reference; None where that depends on what else is removed."""
    if isinstance(baseline, Imputer):
        return None
    return inputs.x - baseline.references(inputs, rng=rng).mean(1)


class Game:
    """A model's value at any coalition of the units of some samples.

    What stands in for absent units is drawn once, so that the same coalition has the same value
    whenever it is asked for: references of the baseline, or an imputer asked each time.
    """

    def __init__(
        self, model: Model, inputs: Inputs, targets: Tensor, baseline: Baseline, *, rng: Rng
    ) -> None:
        self.model, self.inputs, self.targets = model, inputs, targets
        self.absent = _Absent(inputs, baseline, rng)

    @property
    def n_references(self) -> int:
        """Rows that one coalition takes per sample."""
        return self.absent.n_references

    def values(self, kept: Tensor) -> Tensor:
        """`kept [B, K, U]` bool `-> [B, K]` float64; see `values`."""
        out = torch.empty(kept.shape[:2], dtype=torch.float64)
        for samples, columns, found in self._valued(kept):
            out[samples, columns] = found.mean(2)
        return out

    def values_each(self, kept: Tensor) -> Tensor:
        """`kept [B, K, U]` bool `-> [B, K, R]` float64; see `values_each`."""
        out = torch.empty(*kept.shape[:2], self.n_references, dtype=torch.float64)
        for samples, columns, found in self._valued(kept):
            out[samples, columns] = found
        return out

    @torch.no_grad()
    def _valued(self, kept: Tensor) -> Iterator[tuple[slice, slice, Tensor]]:
        """Block by block, the target output `[b, k, R]` of each coalition and reference."""
        n_samples, per_call = len(self.inputs), self.n_references
        for samples, columns in _blocks(n_samples, kept.shape[1], self.model.max_rows // per_call):
            rows = torch.arange(n_samples)[samples]
            part, targets = self.inputs.take(rows), self.targets[rows]
            points = self.absent.fill(rows, kept[samples, columns]).flatten(1, 2)
            asked = targets.repeat_interleave(points.shape[1])
            flat = self.model.target_output(part.stacked(points), asked)
            yield samples, columns, flat.double().view(len(rows), -1, per_call)


class _Absent:
    """What stands in for absent units: references drawn once, or an imputer asked each time."""

    def __init__(self, inputs: Inputs, baseline: Baseline, rng: Rng) -> None:
        self.inputs, self.baseline, self.rng = inputs, baseline, rng
        if isinstance(baseline, Imputer):
            self.n_references = baseline.n_references
        else:
            self.references = baseline.references(inputs, rng=rng)
            self.n_references = self.references.shape[1]

    def fill(self, rows: Tensor, kept: Tensor) -> Tensor:
        """`rows [b], kept [b, k, U] -> [b, k, R, *S]`."""
        part = self.inputs.take(rows)
        if isinstance(self.baseline, Imputer):
            return self.baseline.impute(part, kept, rng=self.rng.take(rows))
        return remove(part, kept, self.references[rows])


def _blocks(n_samples: int, n_columns: int, max_cells: int) -> Iterator[tuple[slice, slice]]:
    """Rectangles that cover `n_samples x n_columns`, none larger than `max_cells` (at least 1)."""
    max_cells = max(max_cells, 1)
    width = max(min(n_columns, max_cells), 1)
    height = max(max_cells // width, 1)
    for top in range(0, n_samples, height):
        for left in range(0, n_columns, width):
            yield slice(top, top + height), slice(left, left + width)
