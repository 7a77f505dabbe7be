"""Gaps in the scores between the groups of a sensitive column.

The gap of any per-sample metric between groups: Dai+ 2022, arXiv:2205.07277; Balagopalan+ 2022,
arXiv:2205.03295. Letters: `E` explainers, `N` rows (samples under all seeds), `G` groups.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from xai_bench.results.report.aligned import joined
from xai_bench.results.report.stats import SAME
from xai_bench.results.report.summary import Block, Column
from xai_bench.results.report.table import (
    Entry,
    Panel,
    Section,
    Table,
    heads,
    measured,
    parts,
    title,
)
from xai_bench.results.statistics import intervals
from xai_bench.results.statistics.intervals import Floats, Ints

SMALLEST = 10
"""A group with fewer scored samples is shown, but neither best nor worst."""
LEGEND = (
    "The best group's mean less the worst group's, ± half its 95 % interval (the "
    "level is shared among the pairs of groups), and the worst group. Bold: a gap that differs "
    f"significantly from 0. Groups with fewer than {SMALLEST} scored samples do not compete."
)
_UNGROUPED = "cost"
_NO_PAIR = {"best": -1, "worst": -1}


@dataclass(frozen=True, eq=False)
class Gap:
    """One metric of one explainer over the groups of one sensitive column.

    Attributes:
        groups: the names of the groups.
        means, sizes: `[G]` mean score, NaN where none is scored, and scored rows over all seeds.
        best, worst: places of the groups with the best and the worst mean; -1 where these are equal
            or fewer than two groups are large enough.
        gap, low, high: the best mean less the worst in the metric's own direction, never negative,
            and its interval; NaN where there is none.
        apart: 0 lies outside the interval.
    """

    explainer: str
    column: Column
    attribute: str
    groups: tuple[str, ...]
    means: Floats
    sizes: Ints
    best: int
    worst: int
    gap: float
    low: float
    high: float
    apart: bool


Places = Mapping[tuple[str, Column], Gap]


def gaps(block: Block) -> list[Gap]:
    """Every metric but costs, by sensitive column; empty where the data has no groups."""
    columns = [column for column in block.scored if column.category != _UNGROUPED]
    return [
        gap
        for attribute in block.cells[0].groups
        for column in columns
        for gap in _gaps(block, attribute, column)
    ]


def section(study: str, blocks: Sequence[Block]) -> Section:
    """Per sensitive column the gaps, and behind a fold the mean of every group; long as CSV."""
    import pandas as pd

    by_block = [(block, gaps(block)) for block in blocks]
    rows = [r for block, of_block in by_block for gap in of_block for r in _rows(study, block, gap)]

    def tables(n_columns: int) -> list[Table]:
        return [
            table
            for block, of_block in by_block
            for attribute in block.cells[0].groups
            for table in _tables(
                block, [g for g in of_block if g.attribute == attribute], n_columns
            )
        ]

    return Section(tables, {"fairness.csv": pd.DataFrame(rows)})


def gap_width(
    scores: Floats, codes: Ints, place: tuple[Ints, Ints], pair: tuple[int, int], level: float
) -> float:
    """Half the width of the interval of the difference of two groups' means.

    `scores [N]` (NaN: unscored), `codes [N]`, `place` the seeds and rows `[N]` each. The error of a
    difference of means is a mean of influences, one per row of either group.
    """
    member = [(codes == group) & np.isfinite(scores) for group in pair]
    n_both = sum(int(rows.sum()) for rows in member)
    influence = np.full(len(scores), np.nan)
    for sign, rows in zip((1, -1), member, strict=True):
        n = int(rows.sum())
        # The mean of influences divides by `n_both`, a group's mean by its own `n`.
        # The root makes the variance of a small group unbiased.
        weight = n_both / n * np.sqrt(n / max(n - 1, 1))
        influence[rows] = sign * weight * (scores[rows] - scores[rows].mean())
    return float(intervals.spread(influence[None], *place).half_widths(level)[0])


def _gaps(block: Block, attribute: str, column: Column) -> list[Gap]:
    scores, codes, place = _scores(block, attribute, column)
    of = (codes, *place)
    names = block.cells[0].group_names.get(attribute, ())
    n_groups = max(len(names), int(codes.max(initial=0)) + 1)
    groups = tuple(names) or tuple(f"group {code}" for code in range(n_groups))
    return [
        Gap(explainer, column, attribute, groups, **largest_gap(column, row, of, n_groups))
        for explainer, row in zip(block.explainers, scores, strict=True)
    ]


def _scores(block: Block, attribute: str, column: Column) -> tuple[Floats, Ints, tuple[Ints, Ints]]:
    """`[E, N]` scores, `[N]` codes, and the seeds and rows `[N]` they are of."""
    parts = block.cell_scores(block.explainers, column)
    codes = [
        cell.groups[attribute].numpy()[p.rows] for cell, p in zip(block.cells, parts, strict=True)
    ]
    scores, seeds, rows = joined(parts)
    return scores, np.concatenate(codes), (seeds, rows)


def largest_gap(
    column: Column, scores: Floats, of: tuple[Ints, Ints, Ints], n_groups: int
) -> dict[str, Any]:
    """The numbers of a `Gap`, from `scores [N]` and the codes, seeds and rows they are of.

    Groups with fewer than `SMALLEST` scored samples per cell do not compete. The pair is chosen for
    its gap, so the level is divided by the number of pairs (Bonferroni).
    """
    codes, seeds, rows = of
    finite = np.isfinite(scores)
    sizes = np.bincount(codes[finite], minlength=n_groups)
    sums = np.bincount(codes[finite], scores[finite], n_groups)
    means = intervals.ratio(sums, sizes)
    # Sizes are over all seeds, and the least is per cell.
    large = sizes >= SMALLEST * len(np.unique(seeds))
    fields: dict[str, Any] = {"means": means, "sizes": sizes, **_NO_PAIR, "apart": False}
    if large.sum() < 2:
        return {**fields, **dict.fromkeys(("gap", "low", "high"), float("nan"))}
    worth = np.where(large, means if column.higher_is_better else -means, np.nan)
    best, worst = int(np.nanargmax(worth)), int(np.nanargmin(worth))
    # Never negative, as `worth` has the metric's direction.
    gap = float(worth[best] - worth[worst])
    level = 1 - (1 - intervals.LEVEL) / (large.sum() * (large.sum() - 1) / 2)
    half = gap_width(scores, codes, (seeds, rows), (best, worst), level) if best != worst else 0.0
    margin = SAME * float(np.abs(means[large]).max())
    ends = {"gap": gap, "low": gap - half, "high": gap + half, "apart": gap - half > margin}
    return {**fields, **ends, **({"best": best, "worst": worst} if gap > margin else {})}


def _rows(study: str, block: Block, gap: Gap) -> Iterator[dict[str, Any]]:
    for place, group in enumerate(gap.groups):
        yield {
            "study": study,
            **block.names,
            "variant": block.variant,
            "attribute": gap.attribute,
            "group": group,
            "explainer": gap.explainer,
            "category": gap.column.category,
            "metric": gap.column.label,
            "higher_is_better": gap.column.higher_is_better,
            "mean": gap.means[place],
            "n_scored": gap.sizes[place],
            "is_best": place == gap.best,
            "is_worst": place == gap.worst,
            **{name: getattr(gap, name) for name in ("gap", "low", "high", "apart")},
            "cells": " ".join(cell.key for cell in block.cells),
        }


def _tables(block: Block, gaps: list[Gap], n_columns: int) -> Iterator[Table]:
    """The gaps of one sensitive column, and its group means."""
    places = {(gap.explainer, gap.column): gap for gap in gaps}
    columns = [c for c in block.scored if any(g.column == c and np.isfinite(g.gap) for g in gaps)]
    if not columns:
        return
    name = f"{title(block)}: gaps by {gaps[0].attribute}"
    split = list(parts(columns, n_columns))
    yield Table(
        title=name,
        caption=f"Samples: {_counts(block, gaps[0])}.",
        panels=tuple(_gap_panel(block, part, places) for part in split),
        legend=LEGEND,
    )
    yield Table(
        title=f"{name}, mean of every group",
        caption="",
        panels=tuple(_mean_panel(block, part, places) for part in split),
        legend="Bold: the worst group. (n): scored samples, over all seeds.",
        folded=True,
    )


def _gap_panel(block: Block, columns: Sequence[Column], places: Places) -> Panel:
    rows = tuple((e, tuple(_gap(places[e, c]) for c in columns)) for e in block.explainers)
    return Panel(heads(columns), rows, block.n_controls)


def _mean_panel(block: Block, columns: Sequence[Column], places: Places) -> Panel:
    groups = next(iter(places.values())).groups
    rows = tuple(
        (f"{explainer}, {name}", tuple(_mean(places[explainer, c], g) for c in columns))
        for explainer in block.explainers
        for g, name in enumerate(groups)
    )
    return Panel(heads(columns), rows, block.n_controls * len(groups), "explainer, group")


def _gap(gap: Gap) -> Entry:
    text = measured(gap.gap, (gap.high - gap.low) / 2)
    worst = f" ({gap.groups[gap.worst]})" if gap.worst >= 0 else ""
    return Entry(text + worst, best=gap.apart)


def _mean(gap: Gap, group: int) -> Entry:
    return Entry(f"{measured(float(gap.means[group]))} ({gap.sizes[group]})", group == gap.worst)


def _counts(block: Block, gap: Gap) -> str:
    """How many of the evaluated samples are in each group, by the first seed."""
    counts = block.cells[0].groups[gap.attribute].bincount(minlength=len(gap.groups)).tolist()
    return ", ".join(f"{name} {n}" for name, n in zip(gap.groups, counts, strict=True))
