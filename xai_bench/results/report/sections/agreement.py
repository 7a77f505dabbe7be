"""Agreement between explainers on the most important units, compared with chance.

Krishna+ 2022, arXiv:2202.01602. Absolute attributions are compared, because a sensitivity and a
contribution do not share a sign.
Letters: `E` explainers, `B` samples, `U` units.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from xai_bench.core import units
from xai_bench.results.report.figures.export import Picture
from xai_bench.results.report.figures.matrices import Matrix, MatrixFigure
from xai_bench.results.report.summary import Block
from xai_bench.results.report.table import Entry, Head, Panel, Section, Table, measured, title
from xai_bench.results.store.store import Store
from xai_bench.results.values import ExplainerResult

FRACTION = 0.25
"""Share of the units that are the most important ones."""
_LEGEND = (
    "Spearman: rank correlation of the units' absolute attributions, mean over samples; chance is "
    "0. Overlap: share of the top quarter of units, rounded up, that two explainers have in common."
)


@dataclass(frozen=True, eq=False)
class Agreement:
    """Means over all samples and seeds.

    Attributes:
        explainers: those with attributions in every cell.
        spearman: `[E, E]`, NaN where a map is constant on every sample.
        overlap: `[E, E]` share of the most important units in common.
        chance: the overlap of two random maps, k / U.
        n_samples: `[E, E]` samples with a rank correlation.
    """

    explainers: tuple[str, ...]
    spearman: Tensor
    overlap: Tensor
    chance: float
    n_samples: Tensor


def agreement(store: Store, block: Block) -> Agreement | None:
    """Of all explainers of a block; None where inputs or all but one attribution are missing."""
    parts = [_pooled(store, cell.key, results) for cell, results in block.listing]
    stored = [part for part in parts if part is not None]
    names = tuple(n for n in block.explainers if stored and all(n in sizes for sizes, _ in stored))
    if len(names) < 2:
        return None
    compared = [
        compare(torch.stack([sizes[name] for name in names]), present) for sizes, present in stored
    ]
    spearman, overlap, chance = (torch.cat(values) for values in zip(*compared, strict=True))
    return Agreement(
        explainers=names,
        # Rounded, as sums of products leave the correlation of a map with itself a little off 1.
        spearman=spearman.nanmean(0).round(decimals=12),
        overlap=overlap.mean(0),
        chance=chance.mean().item(),
        n_samples=spearman.isfinite().sum(0),
    )


def compare(sizes: Tensor, present: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Compare `sizes [E, B, U]` pairwise; `present [B, U]` marks the units that are no padding.

    Returns Spearman correlations `[B, E, E]` (NaN: a constant map), overlaps of the most important
    units `[B, E, E]`, and the overlap by chance `[B]`.
    """
    top = (FRACTION * present.sum(1).double()).ceil()
    # Padding ranks below all units, whose sizes are not negative.
    above, within = _places(torch.where(present, sizes, -torch.inf))
    # The mean place among equals; a shift that all share does not change a correlation.
    rank = torch.where(present, above + within / 2, 0)
    centred = torch.where(present, rank - (rank.sum(-1) / present.sum(1))[..., None], 0)
    # A constant map is 0 / 0 here, the NaN that is announced above.
    normed = centred / centred.square().sum(-1, keepdim=True).sqrt()
    # Units with equal sizes at the border share what is left of the places there.
    member = ((top[:, None] - above) / within).clamp(0, 1) * present
    return (
        torch.einsum("ebu,fbu->bef", normed, normed),
        torch.einsum("ebu,fbu->bef", member, member) / top[:, None, None],
        top / present.sum(1),
    )


def section(store: Store, blocks: Sequence[Block]) -> Section:
    """Two matrices per block, and a picture of them."""
    import pandas as pd

    compared = [(i, b, a) for i, b in enumerate(blocks) if (a := agreement(store, b)) is not None]
    rows = [row for _, block, agreed in compared for row in _rows(block, agreed)]

    def tables(n_columns: int) -> list[Table]:
        return [_table(block, agreed, n_columns, f"agreement-{i}") for i, block, agreed in compared]

    pictures: dict[str, Picture] = {
        f"agreement-{i}": _figure(block, agreed) for i, block, agreed in compared
    }
    return Section(tables, {"agreement.csv": pd.DataFrame(rows)}, pictures)


def _pooled(
    store: Store, cell_key: str, results: Sequence[ExplainerResult]
) -> tuple[dict[str, Tensor], Tensor] | None:
    """Explainer -> `[B, U]` absolute attribution, and which units are no padding."""
    inputs = store.read_inputs(cell_key)
    if inputs is None:
        return None
    sizes = {}
    for result in results:
        stored = store.read(cell_key, result.key, {})
        if stored is not None and stored.explanation is not None:
            pooled = units.pool(stored.explanation.attribution.double(), inputs["units"])
            sizes[result.explainer] = pooled.abs()
    return sizes, units.present(inputs["units"])


def _places(values: Tensor) -> tuple[Tensor, Tensor]:
    """`[..., U]`: how many values are larger than each, and how many are equal to it."""
    falling = (-values).contiguous()
    ordered = falling.sort(-1).values
    above = torch.searchsorted(ordered, falling)
    within = torch.searchsorted(ordered, falling, right=True) - above
    return above.double(), within.double()


def _figure(block: Block, agreed: Agreement) -> MatrixFigure:
    names = agreed.explainers
    chance = f"top quarter in common (chance {agreed.chance:.2f})"
    return MatrixFigure(
        f"{title(block)}: agreement between explainers",
        (
            Matrix("rank correlation (chance 0)", names, names, agreed.spearman.numpy(), -1, 1),
            Matrix(chance, names, names, agreed.overlap.numpy(), 0, 1),
        ),
    )


def _table(block: Block, agreed: Agreement, n_columns: int, figure: str) -> Table:
    matrices = {"Spearman": agreed.spearman, "overlap": agreed.overlap}
    n = len(agreed.explainers)
    n_controls = sum(
        name in block.explainers[-block.n_controls or n :] for name in agreed.explainers
    )
    return Table(
        title=f"{title(block)}: agreement between explainers",
        caption=f"Overlap by chance is {measured(agreed.chance)}.",
        panels=tuple(
            _panel(agreed.explainers, name, matrix, range(i, min(i + n_columns, n)), n_controls)
            for name, matrix in matrices.items()
            for i in range(0, n, n_columns)
        ),
        legend=_LEGEND,
        folded=True,
        figure=figure,
    )


def _panel(
    names: Sequence[str], what: str, matrix: Tensor, columns: range, n_controls: int
) -> Panel:
    rows = tuple(
        (name, tuple(Entry("" if i == j else measured(matrix[i, j].item())) for j in columns))
        for i, name in enumerate(names)
    )
    return Panel(tuple(Head(what, names[j]) for j in columns), rows, n_controls)


def _rows(block: Block, agreed: Agreement) -> Iterator[dict[str, Any]]:
    """One row per pair."""
    for i, explainer in enumerate(agreed.explainers):
        for j, other in enumerate(agreed.explainers[i + 1 :], start=i + 1):
            yield {
                **block.names,
                "variant": block.variant,
                "explainer": explainer,
                "other": other,
                "spearman": agreed.spearman[i, j].item(),
                "overlap": agreed.overlap[i, j].item(),
                "overlap_by_chance": agreed.chance,
                "n_samples": agreed.n_samples[i, j].item(),
                "cells": " ".join(cell.key for cell in block.cells),
            }
