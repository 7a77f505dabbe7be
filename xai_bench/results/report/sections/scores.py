"""The scores of all explainers: a table of a few metrics, a table of all, and a picture of them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from xai_bench.results.report.figures.lines import Dot, DotFigure
from xai_bench.results.report.main_metrics import main_columns
from xai_bench.results.report.summary import Block, Column, Number
from xai_bench.results.report.table import Section, Table, header, shown, table, title

LONGEST_NAME = 100
"""Letters of the part of a file's name that says what is in it."""


def main(blocks: Sequence[Block], metrics: Sequence[str]) -> Section:
    """A table per block with the metrics asked for, or a few of every category."""
    chosen = [(block, main_columns(block, metrics)) for block in blocks]
    chosen = [(block, columns) for block, columns in chosen if columns or not all(_ran(block))]

    def tables(n_columns: int) -> list[Table]:
        return [table(block, columns, n_columns) for block, columns in chosen]

    pictures = {
        f"scores-{place}-{slug(block)}": _dots(block, columns)
        for place, (block, columns) in enumerate(chosen)
    }
    return Section(tables, {}, {name: plot for name, plot in pictures.items() if plot.metrics})


def full(blocks: Sequence[Block]) -> Section:
    """A table per block with every metric that anything was scored in."""

    def tables(n_columns: int) -> list[Table]:
        return [table(block, block.scored, n_columns) for block in blocks if block.scored]

    return Section(tables)


def unscored(blocks: Sequence[Block]) -> Iterator[tuple[str, str, str]]:
    """Metrics and explainers in which nothing was scored: what, where, and why."""
    places_of: dict[tuple[str, str], list[str]] = {}
    for block in blocks:
        for label, reason in block.unscored.items():
            places_of.setdefault((label, reason), []).append(title(block))
        for name in set(block.explainers) - set(shown(block, block.scored)):
            numbers = [block.numbers[name, column] for column in block.columns]
            reasons = dict.fromkeys(reason for number in numbers for reason in number.reasons)
            places_of.setdefault((name, "; ".join(reasons)), []).append(title(block))
    for (what, reason), places in sorted(places_of.items()):
        yield what, "; ".join(places), reason or "it has no scores"


def _ran(block: Block) -> Iterator[bool]:
    """Per cell, whether it could be computed; else its reason belongs into a table."""
    return (cell.outcome.status == "ok" for cell in block.cells)


def slug(block: Block) -> str:
    """For the name of a file: letters, digits and '-', whatever data and model are called."""
    return re.sub(r"[^\w.+-]+", "-", f"{block.names['data']}-{block.names['model']}")[:LONGEST_NAME]


def _dots(block: Block, metrics: Sequence[Column]) -> DotFigure:
    columns = [c for c in metrics if any(n.status == "ok" for n in block.of(c))]
    names = tuple(shown(block, columns))
    return DotFigure(
        title=title(block),
        names=names,
        n_controls=sum(name not in block.methods for name in names),
        metrics={
            header(column): tuple(
                _dot(block.numbers[name, column], name not in block.methods)
                for name in names
                if block.numbers[name, column].status == "ok"
            )
            for column in columns
        },
    )


def _dot(number: Number, control: bool) -> Dot:
    standing = (
        "control" if control else "best" if number.best else "tied" if number.tied else "other"
    )
    return Dot(number.explainer, number.mean, number.low, number.high, standing)
