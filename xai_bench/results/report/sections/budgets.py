"""What more rows buy: the scores of explainers that were run at several budgets."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from xai_bench.results.report import comparability, stats
from xai_bench.results.report.formats.budget_plots import Line, Plot, picture
from xai_bench.results.report.regimes import base
from xai_bench.results.report.summary import Block, Column, Number, share
from xai_bench.results.report.table import Entry, Head, Panel, Section, Table, header, parts, title

CATEGORIES = ("truth", "fidelity")
ROWS = "forward_rows"
CAPTION = (
    "The picture shows means and their 95 % intervals against the rows spent; explainers without "
    "other budgets are single marks, controls horizontal lines."
)
LEGEND = (
    "Model rows per sample from which on the mean score is not told apart from the one at the "
    "explainer's largest budget (the paired interval of the difference holds 0)."
)


@dataclass(frozen=True)
class Step:
    """An explainer at one of its budgets; `label` is its row in tables."""

    label: str
    budget: int
    rows: float


@dataclass(frozen=True)
class BudgetCurve:
    """An explainer at rising budgets, all other settings equal."""

    name: str
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class Point:
    """One score of one step, and by how much it misses the one at the largest budget."""

    evaluate_at_budgets: BudgetCurve
    step: Step
    number: Number
    gap: float
    gap_low: float
    gap_high: float

    @property
    def settled(self) -> bool:
        return self.gap_low <= 0 <= self.gap_high


def section(study: str, blocks: Sequence[Block]) -> Section:
    """A picture and a table per block with two budgets or more of an explainer; CSV of all."""
    import pandas as pd

    found = [(place, block, climbs(block)) for place, block in enumerate(blocks)]
    told = [
        (f"figures/anytime-{place}-{block.names['data']}-{block.names['model']}.png", block, known)
        for place, block, known in found
        if known and _columns(block)
    ]
    points = [(name, block, points_of(block, known)) for name, block, known in told]
    frame = pd.DataFrame([_row(study, block, p) for _, block, some in points for p in some])

    def tables(n_columns: int) -> list[Table]:
        return [_table(block, some, name, n_columns) for name, block, some in points]

    figures = {name: picture(_plots(block, some)) for name, block, some in points}
    return Section(tables, {"anytime.csv": frame}, figures)


def climbs(block: Block) -> list[BudgetCurve]:
    """The explainers that were run at two budgets or more."""
    configs = _configs(block)
    groups: dict[str, list[str]] = {}
    for label in block.methods:
        if "budget" in configs[label]:
            key = json.dumps([base(label), _but_budget(configs[label])], default=str)
            groups.setdefault(key, []).append(label)
    several = [labels for labels in groups.values() if len(labels) > 1]
    names = [base(labels[0]) for labels in several]
    apart = comparability.variants(names, [_but_budget(configs[labels[0]]) for labels in several])
    return [
        BudgetCurve(
            f"{name} ({told})" if told else name,
            tuple(
                Step(label, int(configs[label]["budget"]), rows_of(block, label, configs[label]))
                for label in sorted(labels, key=lambda label: int(configs[label]["budget"]))
            ),
        )
        for name, told, labels in zip(names, apart, several, strict=True)
    ]


def rows_of(block: Block, label: str, config: Any) -> float:
    """Rows spent per sample, as counted; the budget where the study does not count."""
    for column in block.columns:
        number = block.numbers[label, column]
        if column.metric == ROWS and number.status == "ok":
            return number.mean
    return float(config.get("budget", np.nan))


def points_of(block: Block, found: Sequence[BudgetCurve]) -> list[Point]:
    """Every score of every step, in the order of metrics and explainers."""
    columns = _columns(block)
    return [
        p
        for column in columns
        for evaluate_at_budgets in found
        for p in _points(block, evaluate_at_budgets, column)
    ]


def _configs(block: Block) -> dict[str, dict[str, Any]]:
    """Row -> its settings."""
    listed = [one for _, explanations in block.listing for one in explanations]
    return {one.explainer: comparability.settled(one) for one in listed}


def _but_budget(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in sorted(config.items()) if key != "budget"}


def _columns(block: Block) -> list[Column]:
    return [column for column in block.scored if column.category in CATEGORIES]


def _points(block: Block, evaluate_at_budgets: BudgetCurve, column: Column) -> Iterator[Point]:
    scored = [s for s in evaluate_at_budgets.steps if block.numbers[s.label, column].status == "ok"]
    if len(scored) < 2:
        return
    labels = [step.label for step in scored]
    shares = [share(cell, explanations, labels, column) for cell, explanations in block.listing]
    found = stats.compare(
        np.concatenate([part.scores for part in shares], axis=1),
        np.concatenate([part.seeds for part in shares]),
        np.concatenate([part.rows for part in shares]),
        higher_is_better=column.higher_is_better,
        ranked=np.arange(len(labels)) == len(labels) - 1,
    )
    for place, step in enumerate(scored):
        gap = (found.difference[place], found.difference_low[place], found.difference_high[place])
        yield Point(evaluate_at_budgets, step, block.numbers[step.label, column], *map(float, gap))


def _table(block: Block, points: Sequence[Point], figure: str, n_columns: int) -> Table:
    columns = list(dict.fromkeys(point.number.column for point in points))
    names = list(dict.fromkeys(point.evaluate_at_budgets.name for point in points))
    panels = tuple(
        Panel(
            tuple(Head(column.category, header(column)) for column in part),
            tuple((name, tuple(_entry(points, name, column) for column in part)) for name in names),
        )
        for part in parts(columns, n_columns)
    )
    return Table(
        title=f"{title(block)}: what more rows buy",
        caption=CAPTION if figure else "",
        panels=panels,
        legend=LEGEND,
        figure=figure,
    )


def _entry(points: Sequence[Point], name: str, column: Column) -> Entry:
    mine = _of(points, name, column)
    if not mine:
        return Entry("–")
    settled = mine[-1]
    for point in reversed(mine):
        if not point.settled:
            break
        settled = point
    return Entry(f"{settled.step.rows:.0f}")


def _row(study: str, block: Block, point: Point) -> dict[str, Any]:
    number, column = point.number, point.number.column
    return {
        "study": study,
        **block.names,
        "variant": block.variant,
        "metric": column.label,
        "higher_is_better": column.higher_is_better,
        "explainer": point.evaluate_at_budgets.name,
        "regime": "; ".join(filter(None, block.regimes[point.step.label])),
        "budget": point.step.budget,
        "rows": point.step.rows,
        **{name: getattr(number, name) for name in ("mean", "low", "high", "n_scored")},
        **{name: getattr(point, name) for name in ("gap", "gap_low", "gap_high")},
        "cells": " ".join(number.cells),
        "explanations": " ".join(number.explanations),
    }


def _plots(block: Block, points: Sequence[Point]) -> list[Plot]:
    climbing = {step.label for point in points for step in point.evaluate_at_budgets.steps}
    configs = _configs(block)
    names = dict.fromkeys(point.evaluate_at_budgets.name for point in points)
    once = {
        label: rows_of(block, label, configs[label])
        for label in block.methods
        if label not in climbing
    }
    return [
        Plot(
            title=header(column),
            lines=tuple(
                Line(name, tuple((p.step.rows, p.number) for p in _of(points, name, column)))
                for name in names
            ),
            dots=tuple(
                Line(label, ((rows, block.numbers[label, column]),)) for label, rows in once.items()
            ),
            controls=tuple(
                block.numbers[label, column] for label in block.explainers[len(block.methods) :]
            ),
        )
        for column in dict.fromkeys(point.number.column for point in points)
    ]


def _of(points: Sequence[Point], name: str, column: Column) -> list[Point]:
    return [p for p in points if p.evaluate_at_budgets.name == name and p.number.column == column]
