"""Scores of explainers that were run at several budgets, against the rows they used."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from xai_bench.results.report import comparability, stats
from xai_bench.results.report.aligned import joined
from xai_bench.results.report.figures.anytime import AnytimeFigure, AnytimePlot
from xai_bench.results.report.figures.lines import Spot
from xai_bench.results.report.regimes import base
from xai_bench.results.report.summary import Block, Column, Number
from xai_bench.results.report.table import Entry, Head, Panel, Section, Table, header, parts, title

CATEGORIES = ("truth", "fidelity")
ROWS = "forward_rows"
CAPTION = (
    "The picture shows means and their 95 % intervals against the rows used; explainers without "
    "other budgets are single marks, controls horizontal lines."
)
LEGEND = (
    "Model rows per sample from which on the mean score does not differ significantly from the one "
    "at the explainer's largest budget (the paired interval of the difference holds 0)."
)


@dataclass(frozen=True)
class Step:
    """An explainer at one of its budgets; `label` is its row in tables."""

    label: str
    budget: int
    rows: float


@dataclass(frozen=True)
class BudgetCurve:
    """An explainer at rising budgets, all other settings equal; `name` labels its line."""

    name: str
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class Point:
    """One score of one step, and its difference from the one at the largest budget."""

    curve: BudgetCurve
    step: Step
    number: Number
    gap: float
    gap_low: float
    gap_high: float

    @property
    def settled(self) -> bool:
        """Whether the score does not differ significantly from the one at the largest budget."""
        return self.gap_low <= 0 <= self.gap_high


def section(study: str, blocks: Sequence[Block]) -> Section:
    """A picture and a table per block with two budgets or more of an explainer; CSV of all."""
    import pandas as pd

    with_curves = [
        (f"anytime-{place}-{block.names['data']}-{block.names['model']}", block, curves)
        for place, block in enumerate(blocks)
        if (curves := budget_curves(block)) and _columns(block)
    ]
    plotted = [(name, block, points_of(block, curves)) for name, block, curves in with_curves]
    frame = pd.DataFrame([_row(study, block, p) for _, block, points in plotted for p in points])

    def tables(n_columns: int) -> list[Table]:
        return [_table(block, points, name, n_columns) for name, block, points in plotted]

    figures = {
        name: AnytimeFigure(f"{title(block)}: what more rows buy", tuple(_plots(block, points)))
        for name, block, points in plotted
    }
    return Section(tables, {"anytime.csv": frame}, figures)


def budget_curves(block: Block) -> list[BudgetCurve]:
    """The explainers that were run at two budgets or more."""
    configs = _configs(block)
    groups: dict[str, list[str]] = {}
    for label in block.methods:
        if "budget" in configs[label]:
            key = json.dumps([base(label), _but_budget(configs[label])], default=str)
            groups.setdefault(key, []).append(label)
    several = [labels for labels in groups.values() if len(labels) > 1]
    names = [base(labels[0]) for labels in several]
    others = [_but_budget(configs[labels[0]]) for labels in several]
    settings = comparability.variants(names, others)
    return [
        BudgetCurve(
            f"{name} ({setting})" if setting else name,
            tuple(
                Step(label, int(configs[label]["budget"]), rows_of(block, label, configs[label]))
                for label in sorted(labels, key=lambda label: int(configs[label]["budget"]))
            ),
        )
        for name, setting, labels in zip(names, settings, several, strict=True)
    ]


def rows_of(block: Block, label: str, config: Any) -> float:
    """Model rows per sample, as counted; the budget where the study has no `forward_rows`."""
    for column in block.columns:
        number = block.numbers[label, column]
        if column.metric == ROWS and number.status == "ok":
            return number.mean
    return float(config.get("budget", np.nan))


def points_of(block: Block, curves: Sequence[BudgetCurve]) -> list[Point]:
    """Every score of every step, in the order of metrics and explainers."""
    columns = _columns(block)
    return [p for column in columns for curve in curves for p in _points(block, curve, column)]


def _configs(block: Block) -> dict[str, dict[str, Any]]:
    """Row -> its settings."""
    results = [result for _, of_cell in block.listing for result in of_cell]
    return {result.explainer: comparability.shown_settings(result) for result in results}


def _but_budget(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in sorted(config.items()) if key != "budget"}


def _columns(block: Block) -> list[Column]:
    return [column for column in block.scored if column.category in CATEGORIES]


def _points(block: Block, curve: BudgetCurve, column: Column) -> Iterator[Point]:
    scored = [s for s in curve.steps if block.numbers[s.label, column].status == "ok"]
    if len(scored) < 2:
        return
    labels = [step.label for step in scored]
    scores, seeds, rows = joined(block.cell_scores(labels, column))
    comparison = stats.compare(
        scores,
        seeds,
        rows,
        higher_is_better=column.higher_is_better,
        # The largest budget alone is "the best", so that all differences are from it.
        ranked=np.arange(len(labels)) == len(labels) - 1,
    )
    gaps = zip(
        comparison.difference, comparison.difference_low, comparison.difference_high, strict=True
    )
    for step, gap in zip(scored, gaps, strict=True):
        yield Point(curve, step, block.numbers[step.label, column], *map(float, gap))


def _table(block: Block, points: Sequence[Point], figure: str, n_columns: int) -> Table:
    columns = list(dict.fromkeys(point.number.column for point in points))
    names = list(dict.fromkeys(point.curve.name for point in points))
    panels = tuple(
        Panel(
            tuple(Head(column.category, header(column)) for column in part),
            tuple((name, tuple(_entry(points, name, column) for column in part)) for name in names),
        )
        for part in parts(columns, n_columns)
    )
    return Table(
        title=f"{title(block)}: scores by budget",
        caption=CAPTION if figure else "",
        panels=panels,
        legend=LEGEND,
        folded=True,
        figure=figure,
    )


def _entry(points: Sequence[Point], name: str, column: Column) -> Entry:
    """The smallest budget from which on no score differs significantly from that at the largest."""
    of_curve = _of(points, name, column)
    if not of_curve:
        return Entry("–")
    first = of_curve[-1]
    for point in reversed(of_curve):
        if not point.settled:
            break
        first = point
    return Entry(f"{first.step.rows:.0f}")


def _row(study: str, block: Block, point: Point) -> dict[str, Any]:
    number, column = point.number, point.number.column
    return {
        "study": study,
        **block.names,
        "variant": block.variant,
        "metric": column.label,
        "higher_is_better": column.higher_is_better,
        "explainer": point.curve.name,
        "regime": "; ".join(filter(None, block.regimes[point.step.label])),
        "budget": point.step.budget,
        "rows": point.step.rows,
        **{name: getattr(number, name) for name in ("mean", "low", "high", "n_scored")},
        **{name: getattr(point, name) for name in ("gap", "gap_low", "gap_high")},
        "cells": " ".join(number.cells),
        "explanations": " ".join(number.explanations),
    }


def _plots(block: Block, points: Sequence[Point]) -> Iterator[AnytimePlot]:
    on_curves = {step.label for point in points for step in point.curve.steps}
    configs = _configs(block)
    names = dict.fromkeys(point.curve.name for point in points)
    once = [label for label in block.methods if label not in on_curves]
    for column in dict.fromkeys(point.number.column for point in points):
        lines = {
            name: tuple(_spot(name, p.step.rows, p.number) for p in _of(points, name, column))
            for name in names
        }
        scored = {n.explainer: n for n in block.of(column) if n.status == "ok"}
        yield AnytimePlot(
            title=header(column),
            lines={name: spots for name, spots in lines.items() if spots},
            dots=tuple(
                _spot(label, rows_of(block, label, configs[label]), scored[label])
                for label in once
                if label in scored
            ),
            levels=tuple(
                _spot(label, 0.0, scored[label])
                for label in block.explainers
                if label in scored and label not in block.methods
            ),
        )


def _spot(name: str, rows: float, number: Number) -> Spot:
    return Spot(name, rows, number.mean, number.low, number.high)


def _of(points: Sequence[Point], name: str, column: Column) -> list[Point]:
    return [p for p in points if p.curve.name == name and p.number.column == column]
