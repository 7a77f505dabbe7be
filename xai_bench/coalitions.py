"""Model values at many points per sample, and at coalitions of units, in bounded batches.

The one engine behind removal explainers and removal metrics.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from xai_bench import units
from xai_bench.types import Baseline, Inputs, Model, Rng


def remove(inputs: Inputs, kept: Tensor, references: Tensor) -> Tensor:
    """`kept [B, K, U]` bool, `references [B, R, *S] -> [B, K, R, *S]`: x with absent units replaced.

    Padding elements are never touched.
    """
    stays = units.lookup(kept, inputs.units) | (inputs.units < 0)[:, None]
    return torch.where(stays[:, :, None], inputs.x[:, None, None], references[:, None])


@torch.no_grad()
def values(
    model: Model, inputs: Inputs, targets: Tensor, kept: Tensor, baseline: Baseline, *, rng: Rng
) -> Tensor:
    """`kept [B, K, U]` bool `-> [B, K]` float64: mean target output over the baseline's references.

    Takes `K * R` forward rows per sample, at most `model.max_rows` at a time.
    """
    references = baseline.references(inputs, rng=rng)
    per_call = references.shape[1]
    parts = []
    for samples, columns in _blocks(len(inputs), kept.shape[1], model.max_rows // per_call):
        rows = torch.arange(len(inputs))[samples]
        part = inputs.take(rows)
        points = remove(part, kept[samples, columns], references[samples])
        flat = model.target_output(
            part.stacked(points.flatten(1, 2)),
            targets[rows].repeat_interleave(points.shape[1] * per_call),
        )
        parts.append((samples, columns, flat.double().view(len(rows), -1, per_call).mean(2)))
    out = torch.empty(kept.shape[:2], dtype=torch.float64)
    for samples, columns, part_values in parts:
        out[samples, columns] = part_values
    return out


@torch.no_grad()
def values_at(model: Model, inputs: Inputs, targets: Tensor, points: Tensor) -> Tensor:
    """`points [B, K, *S] -> [B, K]` float64: target output at each point; `K` rows per sample."""
    flat_points = inputs.stacked(points)
    flat_targets = targets.repeat_interleave(points.shape[1])
    rows = torch.arange(len(flat_points)).split(model.max_rows)
    parts = [model.target_output(flat_points.take(r), flat_targets[r]) for r in rows]
    return torch.cat(parts).double().view(points.shape[:2])


def _blocks(n_samples: int, n_columns: int, max_cells: int) -> Iterator[tuple[slice, slice]]:
    """Rectangles that cover `n_samples x n_columns`, none larger than `max_cells` (at least 1)."""
    max_cells = max(max_cells, 1)
    width = min(n_columns, max_cells)
    height = max(max_cells // max(width, 1), 1)
    for top in range(0, n_samples, height):
        for left in range(0, n_columns, width):
            yield slice(top, top + height), slice(left, left + width)
