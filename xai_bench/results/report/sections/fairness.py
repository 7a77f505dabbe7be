"""How evenly explanations serve the groups of a sensitive column.

The gap of any per-sample metric between groups: Dai+ 2022, arXiv:2205.07277; Balagopalan+ 2022,
arXiv:2205.03295. Letters: `E` explainers, `N` rows (samples under all seeds), `G` groups.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from xai_bench.results import intervals
from xai_bench.results.report.stats import SAME
from xai_bench.results.report.summary import Block, Column, share
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

SMALLEST = 10
"""A group with fewer scored samples is shown, but neither best nor worst."""
LEGEND = (
    "The best group's mean less the worst group's, ± half its 95 % interval (paired bootstrap; the "
    "level is shared among the pairs of groups), and the worst group. Bold: told apart from no "
    f"gap. Groups with fewer than {SMALLEST} scored samples do not compete."
)
_UNGROUPED = "cost"
_NOBODY = {"best": -1, "worst": -1}


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
        apart: the interval leaves out 0.
    """

    explainer: str
    column: Column
    attribute: str
    groups: tuple[str, ...]
    means: intervals.Floats
    sizes: intervals.Ints
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

    found = [(block, gaps(block)) for block in blocks]
    rows = [row for block, some in found for gap in some for row in _rows(study, block, gap)]

    def tables(n_columns: int) -> list[Table]:
        return [
            table
            for block, some in found
            for attribute in block.cells[0].groups
            for table in _tables(block, [g for g in some if g.attribute == attribute], n_columns)
        ]

    return Section(tables, {"fairness.csv": pd.DataFrame(rows)})


def compare(
    scores: intervals.Floats, codes: intervals.Ints, weights: intervals.Floats, n_groups: int
) -> tuple[intervals.Floats, intervals.Floats]:
    """Group means of `scores [E, N]` (NaN: unscored) by `codes [N]`.

    Returns `[E, G]`, and `[n_resamples, E, G]` under the draws `weights [n_resamples, N]`.
    """
    member = codes == np.arange(n_groups)[:, None]
    finite = np.isfinite(scores)[:, None] & member
    filled = np.where(finite, scores[:, None], 0.0)
    shape = (len(weights), *finite.shape[:2])
    flat, known = filled.reshape(-1, len(codes)), finite.reshape(-1, len(codes))
    drawn = intervals.ratio(weights @ flat.T, weights @ known.T.astype(float)).reshape(shape)
    return intervals.ratio(filled.sum(2), finite.sum(2)), drawn


def _gaps(block: Block, attribute: str, column: Column) -> list[Gap]:
    scores, codes, weights = _scores(block, attribute, column)
    names = block.cells[0].group_names.get(attribute, ())
    n_groups = max(len(names), int(codes.max(initial=0)) + 1)
    groups = tuple(names) or tuple(f"group {code}" for code in range(n_groups))
    means, drawn = compare(scores, codes, weights, n_groups)
    sizes = np.array([np.bincount(codes[np.isfinite(s)], minlength=n_groups) for s in scores])
    large = sizes >= SMALLEST * len(block.cells)
    return [
        Gap(
            explainer=explainer,
            column=column,
            attribute=attribute,
            groups=groups,
            means=means[place],
            sizes=sizes[place],
            **interval(column.higher_is_better, means[place], drawn[:, place], large[place]),
        )
        for place, explainer in enumerate(block.explainers)
    ]


def _scores(
    block: Block, attribute: str, column: Column
) -> tuple[intervals.Floats, intervals.Ints, intervals.Floats]:
    """`[E, N]` scores, `[N]` codes and `[n_resamples, N]` draws over all seeds."""
    shares = [share(cell, found, list(block.explainers), column) for cell, found in block.listing]
    codes = [
        cell.groups[attribute].numpy()[s.rows] for cell, s in zip(block.cells, shares, strict=True)
    ]
    seeds, rows = (np.concatenate([getattr(s, name) for s in shares]) for name in ("seeds", "rows"))
    scores = np.concatenate([s.scores for s in shares], axis=1)
    return scores, np.concatenate(codes), intervals.resamples(seeds, rows)


def interval(
    higher_is_better: bool, means: intervals.Floats, drawn: intervals.Floats, large: intervals.Flags
) -> dict[str, Any]:
    """The fields of a gap, from `means [G]`, `drawn [n_resamples, G]`; `large [G]` compete.

    The pair is chosen for its gap, so the level is divided by the number of pairs (Bonferroni).
    """
    if large.sum() < 2:
        nothing = dict.fromkeys(("gap", "low", "high"), float("nan"))
        return {**_NOBODY, **nothing, "apart": False}
    sign = 1 if higher_is_better else -1
    worth = np.where(large, sign * means, np.nan)
    best, worst = int(np.nanargmax(worth)), int(np.nanargmin(worth))
    gap = float(worth[best] - worth[worst])
    margin = SAME * float(np.abs(means[large]).max())
    tail = intervals.TAIL / (large.sum() * (large.sum() - 1) / 2)
    draws = sign * (drawn[:, best] - drawn[:, worst])
    low, high = intervals.quantiles(draws[:, None], tail)[:, 0]
    ends = {"gap": gap, "low": float(low), "high": float(high), "apart": bool(low > margin)}
    return {"best": best, "worst": worst, **ends} if gap > margin else {**_NOBODY, **ends}


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


def _tables(block: Block, found: list[Gap], n_columns: int) -> Iterator[Table]:
    """The gaps of one sensitive column, and its group means."""
    places = {(gap.explainer, gap.column): gap for gap in found}
    columns = [c for c in block.scored if any(g.column == c and np.isfinite(g.gap) for g in found)]
    if not columns:
        return
    name = f"{title(block)}: gaps by {found[0].attribute}"
    split = list(parts(columns, n_columns))
    yield Table(
        title=name,
        caption=f"Samples: {_counts(block, found[0])}.",
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
    named = f" ({gap.groups[gap.worst]})" if gap.worst >= 0 else ""
    return Entry(text + named, best=gap.apart)


def _mean(gap: Gap, group: int) -> Entry:
    return Entry(f"{measured(float(gap.means[group]))} ({gap.sizes[group]})", group == gap.worst)


def _counts(block: Block, gap: Gap) -> str:
    """How many of the evaluated samples are in each group, by the first seed."""
    counts = block.cells[0].groups[gap.attribute].bincount(minlength=len(gap.groups)).tolist()
    return ", ".join(f"{name} {n}" for name, n in zip(gap.groups, counts, strict=True))
