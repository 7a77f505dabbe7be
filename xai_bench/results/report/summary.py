"""From per-sample scores to the numbers of tables: one block per comparable set of cells."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from xai_bench.results.report import comparability, stats
from xai_bench.results.report.aligned import AlignedCell, CellScores, joined
from xai_bench.results.report.comparability import NAMES, Listing
from xai_bench.results.settings import natural
from xai_bench.results.statistics.intervals import Flags
from xai_bench.results.store.store import Store
from xai_bench.results.values import Cell, ExplainerResult, Outcome

if TYPE_CHECKING:
    from pandas import DataFrame

CATEGORIES = (
    "truth", "fidelity", "distribution", "stability", "randomisation", "complexity",
    "plausibility", "fairness", "counterfactual", "surrogate", "cost",
)  # fmt: skip
"""In the order of a table's columns."""
CONTROL = "controls"
"""The category of explainers that are compared with, and not ranked."""


@dataclass(frozen=True)
class Column:
    """One metric of a table: its content address, and a label, its name where that is unique."""

    metric: str
    key: str
    label: str
    category: str
    higher_is_better: bool


@dataclass(frozen=True)
class Number:
    """One number of a table, and the content addresses that it comes from.

    Attributes:
        status: `ok`, `unscored` (no sample has a score), `skipped`, `failed` or `absent`.
        reasons: why scores are missing, in some cells or in all.
        cells, explanations: content addresses of the results it was computed from.
    """

    explainer: str
    column: Column
    mean: float
    low: float
    high: float
    difference: float
    difference_low: float
    difference_high: float
    best: bool
    tied: bool
    skill: float
    n_scored: int
    n_samples: int
    status: str
    reasons: tuple[str, ...]
    cells: tuple[str, ...]
    explanations: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Block:
    """What is compared in one table: the same names and settings under one or more seeds.

    Attributes:
        variant: the settings that differ from another block of the same names, such as
            `model.width=32`.
        explainers: methods by family, then controls.
        n_controls: how many of the explainers, at the end, are controls.
        listing: the cells with their results.
        aligned: the same, with where each result's samples are among the cell's.
    """

    cells: tuple[Cell, ...]
    variant: str
    explainers: tuple[str, ...]
    n_controls: int
    columns: tuple[Column, ...]
    numbers: Mapping[tuple[str, Column], Number]
    listing: Listing
    aligned: tuple[AlignedCell, ...]

    @property
    def names(self) -> dict[str, str]:
        """Data, model, view, target and the two baselines, by their names in `conf/`."""
        return {name: getattr(self.cells[0], name) for name in NAMES}

    @cached_property
    def regimes(self) -> dict[str, tuple[str, ...]]:
        """Explainer -> the regimes under which it competes."""
        pairs = [(e.explainer, e.regime) for _, results in self.listing for e in results]
        return {
            name: tuple(dict.fromkeys(regime for other, regime in pairs if other == name))
            for name in self.explainers
        }

    @property
    def methods(self) -> tuple[str, ...]:
        """The explainers that are ranked: all but the controls."""
        return self.explainers[: len(self.explainers) - self.n_controls]

    @cached_property
    def scored(self) -> tuple[Column, ...]:
        """The metrics that not every explainer skips."""
        return tuple(c for c in self.columns if any(n.status != "skipped" for n in self.of(c)))

    @cached_property
    def unscored(self) -> dict[str, str]:
        """The metrics that every explainer skips, with the reasons."""
        skipped = [c for c in self.columns if c not in self.scored]
        reasons = {c.label: [r for n in self.of(c) for r in n.reasons] for c in skipped}
        return {label: "; ".join(dict.fromkeys(texts)) for label, texts in reasons.items()}

    def cell_scores(self, explainers: Sequence[str], column: Column) -> list[CellScores]:
        """The scores of some explainers by one metric, cell by cell."""
        return _cell_scores(self.aligned, explainers, column)

    def of(self, column: Column) -> list[Number]:
        """The numbers of one metric, in the order of the explainers."""
        return [self.numbers[explainer, column] for explainer in self.explainers]


def blocks(store: Store, study: str) -> list[Block]:
    """The comparable sets of a study's cells. Raises ValueError where there is no such study."""
    groups = comparability.comparable(store.cells(study, attributions=False))
    return [_block(listing, variant) for variant, listing in groups]


def frame(study: str, blocks: Iterable[Block]) -> DataFrame:
    """Long format, one row per number of every table, with the keys it comes from."""
    import pandas as pd

    rows = [_row(study, block, number) for block in blocks for number in block.numbers.values()]
    return pd.DataFrame(rows)


def _row(study: str, block: Block, number: Number) -> dict[str, Any]:
    column = number.column
    values = {f.name: getattr(number, f.name) for f in fields(number) if f.name != "column"}
    return {
        "study": study,
        **block.names,
        "variant": block.variant,
        "seeds": " ".join(str(cell.seed) for cell in block.cells),
        "explainer": values.pop("explainer"),
        "regime": "; ".join(filter(None, block.regimes[number.explainer])),
        "category": column.category,
        "metric": column.metric,
        "higher_is_better": column.higher_is_better,
        **{k: " ".join(v) if k in ("cells", "explanations") else v for k, v in values.items()},
        "reasons": "; ".join(number.reasons),
        "metric_key": column.key,
    }


def _block(listing: Listing, variant: str) -> Block:
    results = [result for _, of_cell in listing for result in of_cell]
    families = {result.explainer: result.category for result in results}
    # Names in natural order: budget 100 after budget 20.
    order = sorted(families, key=lambda n: (families[n] == CONTROL, families[n], natural(n)))
    ranked = np.array([families[name] != CONTROL for name in order], dtype=bool)
    columns = _columns(results)
    aligned = tuple(AlignedCell.of(cell, of_cell) for cell, of_cell in listing)
    numbers = {
        (number.explainer, column): number
        for column in columns
        for number in _numbers(aligned, order, column, ranked)
    }
    return Block(
        cells=tuple(cell for cell, _ in listing),
        variant=variant,
        explainers=tuple(order),
        n_controls=int((~ranked).sum()),
        columns=columns,
        numbers=numbers,
        listing=listing,
        aligned=aligned,
    )


def _cell_scores(
    aligned: Sequence[AlignedCell], explainers: Sequence[str], column: Column
) -> list[CellScores]:
    return [cell.scores(explainers, column.metric, column.key) for cell in aligned]


def _columns(results: Sequence[ExplainerResult]) -> tuple[Column, ...]:
    """One column per metric, and per setting of it where cells have several."""
    distinct = {(s.metric, s.key): s for result in results for s in result.scores.values()}
    labels = comparability.numbered([metric for metric, _ in distinct])
    columns = [
        Column(metric, key, label, scores.category, scores.higher_is_better)
        for ((metric, key), scores), label in zip(distinct.items(), labels, strict=True)
    ]
    return tuple(sorted(columns, key=_column_order))


def _numbers(
    aligned: Sequence[AlignedCell], explainers: list[str], column: Column, ranked: Flags
) -> list[Number]:
    """One number per explainer, compared over all cells."""
    parts = _cell_scores(aligned, explainers, column)
    scores, seeds, rows = joined(parts)
    comparison = stats.compare(
        scores,
        seeds,
        rows,
        higher_is_better=column.higher_is_better,
        ranked=ranked,
    )
    skills = stats.skill(comparison.mean, explainers)
    return [
        Number(
            explainer=name,
            column=column,
            **_values(comparison, place),
            skill=float(skills[place]),
            n_samples=sum(len(part.rows) for part in parts),
            **_status([part.outcomes[place] for part in parts], int(comparison.n_scored[place])),
            cells=tuple(of.cell.key for of in aligned),
            explanations=tuple(dict.fromkeys(part.keys[place] for part in parts)),
        )
        for place, name in enumerate(explainers)
    ]


def _status(outcomes: Sequence[Outcome | None], n_scored: int) -> dict[str, Any]:
    """Status and reasons over the cells; the worst counts only where nothing is scored."""
    stated = [outcome for outcome in outcomes if outcome is not None]
    statuses = {outcome.status for outcome in stated}
    worst = "unscored" if stated else "absent"
    # A failure is to be mended, a skip is meant.
    worst = next((s for s in ("failed", "skipped") if s in statuses), worst)
    reasons = dict.fromkeys(outcome.reason for outcome in stated if outcome.status != "ok")
    return {"status": "ok" if n_scored else worst, "reasons": tuple(reasons), "n_scored": n_scored}


def _values(comparison: stats.Comparison, place: int) -> dict[str, Any]:
    names = ("mean", "low", "high", "difference", "difference_low", "difference_high")
    values: dict[str, Any] = {name: float(getattr(comparison, name)[place]) for name in names}
    return {**values, "best": bool(comparison.best[place]), "tied": bool(comparison.tied[place])}


def _column_order(column: Column) -> tuple[int, str, str]:
    # A user's own category stands before the costs.
    listed = column.category in CATEGORIES
    place = CATEGORIES.index(column.category) if listed else len(CATEGORIES) - 2
    return place, column.category, column.label
