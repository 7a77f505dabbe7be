"""Scores by the baseline of the explainer and the baseline of the metric.

A metric that removes units with the explainer's own baseline may reward the agreement rather than
the explanation: such an explainer is best only where both baselines are the same.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from xai_bench.results.report import comparability, stats
from xai_bench.results.report.figures.export import Picture
from xai_bench.results.report.figures.matrices import Matrix as DrawnMatrix
from xai_bench.results.report.figures.matrices import MatrixFigure
from xai_bench.results.report.main_metrics import KEY_METRICS
from xai_bench.results.report.summary import Block, Column, Number
from xai_bench.results.report.table import (
    Entry,
    Head,
    Panel,
    Section,
    Table,
    header,
    measured,
    title,
)
from xai_bench.results.values import Cell

CATEGORY = "fidelity"
N_DRAWN = 3
LEGEND = (
    "Means. Rows: an explainer and its baseline; columns: the baseline of the metric. "
    "Bold: the best method of a column, over all baselines of explainers."
)


@dataclass(frozen=True, eq=False)
class Matrix:
    """Blocks that differ in their baselines only.

    Attributes:
        explain, measure: labels of the baselines, in the order of appearance.
        blocks: by (explain, measure); some may be missing.
        columns: label -> a column of that metric in one of the blocks, for its name and direction.
    """

    explain: tuple[str, ...]
    measure: tuple[str, ...]
    blocks: dict[tuple[str, str], Block]
    columns: dict[str, Column]

    @property
    def first(self) -> Block:
        """Any of the blocks: their explainers and names are the same."""
        return next(iter(self.blocks.values()))

    def number(self, explainer: str, label: str, explain: str, measure: str) -> Number | None:
        """A score under two baselines; None where there is no such cell, or no score in it."""
        block = self.blocks.get((explain, measure))
        columns = {} if block is None else {c.label: c for c in block.columns}
        if block is None or label not in columns or explainer not in block.explainers:
            return None
        number = block.numbers[explainer, columns[label]]
        return number if number.status == "ok" else None

    def only_on_diagonal(self, explainer: str, label: str) -> bool:
        """Whether it is the best where both baselines are the same, and nowhere else.

        False where it has no score with different baselines.
        """
        numbers = {
            place: number
            for place in self.blocks
            if (number := self.number(explainer, label, *place)) is not None
        }
        wins = [explain == measure for (explain, measure), n in numbers.items() if n.best]
        return bool(wins) and all(wins) and any(explain != measure for explain, measure in numbers)


def matrices(blocks: Sequence[Block]) -> list[Matrix]:
    """Every set of two or more blocks that differ in their baselines only."""
    sets: dict[str, list[Block]] = {}
    for block in blocks:
        sets.setdefault(comparability.but_for_baselines(block.cells[0]), []).append(block)
    return [_matrix(of_set) for of_set in sets.values() if len(of_set) > 1]


def section(study: str, blocks: Sequence[Block]) -> Section:
    """One table per set of cells that differ in baselines only; long as CSV."""
    import pandas as pd

    compared = matrices(blocks)
    rows = [row for matrix in compared for row in _rows(study, matrix)]

    scored = [matrix for matrix in compared if matrix.columns]

    def tables(n_columns: int) -> list[Table]:
        return [_table(matrix, n_columns) for matrix in scored]

    figures: dict[str, Picture] = {
        f"baselines-{place}": _figure(matrix) for place, matrix in enumerate(scored)
    }
    return Section(tables, {"baselines.csv": pd.DataFrame(rows)}, figures)


def _figure(matrix: Matrix) -> MatrixFigure:
    """A small matrix per metric: methods and their baselines against those of the metric."""
    methods = matrix.first.methods
    rows = [(explainer, explain) for explainer in methods for explain in matrix.explain]
    return MatrixFigure(
        f"{title(matrix.first, variant=False)}: baselines of explainers (rows) and metrics",
        tuple(
            _small_matrix(matrix, label, rows)
            for label in sorted(matrix.columns, key=_rank)[:N_DRAWN]
        ),
    )


def _rank(label: str) -> int:
    """Key metrics first."""
    return KEY_METRICS.index(label) if label in KEY_METRICS else len(KEY_METRICS)


def _small_matrix(matrix: Matrix, label: str, rows: Sequence[tuple[str, str]]) -> DrawnMatrix:
    values = np.full((len(rows), len(matrix.measure)), np.nan)
    for i, (explainer, explain) in enumerate(rows):
        for j, measure in enumerate(matrix.measure):
            number = matrix.number(explainer, label, explain, measure)
            values[i, j] = np.nan if number is None else number.mean
    finite = values[np.isfinite(values)]
    texts = tuple(tuple("" if np.isnan(v) else measured(v) for v in row) for row in values)
    # Colours by the metric's own range: scores of two metrics have no common one.
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
    names = tuple(f"{explainer}, {explain}" for explainer, explain in rows)
    return DrawnMatrix(
        header(matrix.columns[label]), names, matrix.measure, values, low, high, texts
    )


def _matrix(blocks: Sequence[Block]) -> Matrix:
    labels = _labels([block.cells[0] for block in blocks])
    explain, measure = (
        [labels[_identity(block.cells[0], slot)] for block in blocks]
        for slot in ("explain", "measure")
    )
    return Matrix(
        explain=tuple(dict.fromkeys(explain)),
        measure=tuple(dict.fromkeys(measure)),
        blocks=dict(zip(zip(explain, measure, strict=True), blocks, strict=True)),
        columns={c.label: c for block in blocks for c in block.scored if c.category == CATEGORY},
    )


def _labels(cells: Sequence[Cell]) -> dict[tuple[str, str], str]:
    """Identity of a baseline -> its name, with the settings that differ between namesakes."""
    slots = [_identity(cell, slot) for slot in ("explain", "measure") for cell in cells]
    distinct = list(dict.fromkeys(slots))
    names = [name for name, _ in distinct]
    settings = comparability.variants(names, [json.loads(config) for _, config in distinct])
    return {
        (name, config): name if names.count(name) == 1 else f"{name} ({differing})"
        for (name, config), differing in zip(distinct, settings, strict=True)
    }


def _identity(cell: Cell, slot: str) -> tuple[str, str]:
    config = cell.config.get("baseline", {}).get(slot, {})
    return getattr(cell, f"baseline_{slot}"), json.dumps(config, sort_keys=True)


def _table(matrix: Matrix, n_columns: int) -> Table:
    methods = matrix.first.explainers[: len(matrix.first.explainers) - matrix.first.n_controls]
    flags = [(e, c) for c in matrix.columns for e in methods if matrix.only_on_diagonal(e, c)]
    labels, step = list(matrix.columns), max(1, n_columns // len(matrix.measure))
    return Table(
        title=f"{title(matrix.first, variant=False)}: baselines of explainers and metrics",
        caption="",
        panels=tuple(
            _panel(matrix, labels[i : i + step], flags) for i in range(0, len(labels), step)
        ),
        notes=tuple(
            f"{explainer} has the best {label} only where both baselines are the same"
            for explainer, label in flags
        ),
        legend=LEGEND,
        folded=True,
    )


def _panel(matrix: Matrix, labels: Sequence[str], flags: Sequence[tuple[str, str]]) -> Panel:
    explainers, n_controls = matrix.first.explainers, matrix.first.n_controls
    methods = explainers[: len(explainers) - n_controls]
    places = [(label, measure) for label in labels for measure in matrix.measure]
    best = {place: _best(matrix, methods, *place) for place in places}
    rows = tuple(
        (
            f"{explainer}, {explain}",
            tuple(
                _entry(matrix, (explainer, label, explain, measure), best[label, measure], flags)
                for label, measure in places
            ),
        )
        for explainer in explainers
        for explain in matrix.explain
    )
    heads = tuple(Head(header(matrix.columns[label]), measure) for label, measure in places)
    return Panel(heads, rows, n_controls * len(matrix.explain), "explainer, its baseline")


def _best(matrix: Matrix, methods: Sequence[str], label: str, measure: str) -> set[tuple[str, str]]:
    """Explainers and their baselines with the best mean under one baseline of the metric."""
    sign = 1 if matrix.columns[label].higher_is_better else -1
    worth = {
        (explainer, explain): sign * number.mean
        for explainer in methods
        for explain in matrix.explain
        if (number := matrix.number(explainer, label, explain, measure)) is not None
    }
    top = max(worth.values(), default=0.0)
    return {pair for pair, value in worth.items() if value >= top - stats.SAME * abs(top)}


def _entry(
    matrix: Matrix,
    place: tuple[str, str, str, str],
    best: set[tuple[str, str]],
    flags: Sequence[tuple[str, str]],
) -> Entry:
    explainer, label, explain, measure = place
    number = matrix.number(*place)
    if number is None:
        return Entry("–")
    flagged = explain == measure and number.best and (explainer, label) in flags
    notes = (flags.index((explainer, label)) + 1,) if flagged else ()
    return Entry(measured(number.mean), (explainer, explain) in best, notes=notes)


def _rows(study: str, matrix: Matrix) -> Iterator[dict[str, Any]]:
    names = {k: v for k, v in matrix.first.names.items() if not k.startswith("baseline")}
    for label, column in matrix.columns.items():
        for explainer in matrix.first.explainers:
            flagged = matrix.only_on_diagonal(explainer, label)
            for explain, measure in matrix.blocks:
                number = matrix.number(explainer, label, explain, measure)
                if number is not None:
                    yield {
                        "study": study,
                        **names,
                        "metric": label,
                        "higher_is_better": column.higher_is_better,
                        "explainer": explainer,
                        "baseline_explain": explain,
                        "baseline_measure": measure,
                        **{k: getattr(number, k) for k in ("mean", "low", "high", "best", "tied")},
                        "only_on_diagonal": flagged,
                        "cells": " ".join(number.cells),
                    }
