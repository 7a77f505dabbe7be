"""A table for the end of a run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.table import Table as RichTable
from rich.text import Text

from xai_bench.results.report.summary import Block, Column, Number, blocks
from xai_bench.results.report.table import header, measured
from xai_bench.results.store.store import Store

KEY_METRICS = (
    "cosine_to_shapley", "abpc", "faithfulness_correlation", "max_sensitivity", "repeatability",
    "entropy", "counterfactual_validity", "counterfactual_proximity", "counterfactual_sparsity",
    "forward_rows", "seconds",
)  # fmt: skip
N_COLUMNS = 7
"""Columns of the table at the end of a run, at most."""
_NAME = 34
_UNLIMITED = 10_000


def terminal(store: Store, study: str, *, full: bool = False) -> RenderableType:
    """The key metrics of every table, as many as fit; with `full` all, category by category.

    No text is cut: on a narrow terminal there are fewer columns, or more tables.
    """
    parts: list[RenderableType] = []
    for block in blocks(store, study):
        parts += [_Fitting(block, full), *_remarks(block)]
    parts.append(Text("bold: best method   †: not significantly different from it", style="dim"))
    return Group(*parts)


@dataclass(frozen=True, eq=False)
class _Fitting:
    """A block, rendered as tables that are as wide as the terminal allows."""

    block: Block
    full: bool

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> Iterator[RenderableType]:
        width = options.max_width
        if self.full:
            for _, run in groupby(self.block.scored, key=lambda column: column.category):
                yield from self._stacked(list(run), width, console)
        elif self.block.scored:
            yield from self._chosen(_key(self.block), width, console)

    def _chosen(
        self, columns: list[Column], width: int, console: Console
    ) -> Iterator[RenderableType]:
        """One table with as many of the columns as fit, most categories first."""
        shown, dropped = list(columns), []
        while len(shown) > 1 and not self._fits(shown, width, console):
            dropped.append(_least_needed(shown))
            shown.remove(dropped[-1])
        # A narrow column may fit again after a wide one was dropped.
        for candidate in reversed(dropped):
            wider = [column for column in columns if column in shown or column is candidate]
            shown = wider if self._fits(wider, width, console) else shown
        yield _table(self.block, shown)
        left_out = [column for column in columns if column not in shown]
        if left_out:
            names = ", ".join(column.label for column in left_out)
            yield Text(f"no room for {names}; the report has them", style="dim")

    def _stacked(
        self, columns: list[Column], width: int, console: Console
    ) -> Iterator[RenderableType]:
        """One table after the other, each with as many columns as fit."""
        while columns:
            n = len(columns)
            while n > 1 and not self._fits(columns[:n], width, console):
                n -= 1
            yield _table(self.block, columns[:n])
            columns = columns[n:]

    def _fits(self, columns: Sequence[Column], width: int, console: Console) -> bool:
        unlimited = console.options.update(max_width=_UNLIMITED)
        return console.measure(_table(self.block, columns), options=unlimited).maximum <= width


def _key(block: Block) -> list[Column]:
    """The key metrics, then the first metric of categories without one while there is room."""
    key = [column for column in block.scored if column.metric in KEY_METRICS]
    while len(key) > N_COLUMNS:
        key.remove(_least_needed(key))
    covered = {column.category for column in key}
    for category, run in groupby(block.scored, key=lambda column: column.category):
        if category not in covered and len(key) < N_COLUMNS:
            key.append(next(run))
    return [column for column in block.scored if column in key]


def _least_needed(columns: Sequence[Column]) -> Column:
    """The last column of the category that has most of them; of equals, the last category."""
    names = [column.category for column in columns]
    fullest = max(reversed(names), key=names.count)
    return [column for column in columns if column.category == fullest][-1]


def _table(block: Block, columns: Sequence[Column]) -> RichTable:
    names = block.names
    title = f"{names['data']}, {names['model']} {block.variant}".strip()
    table = RichTable(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD)
    table.collapse_padding, table.pad_edge = True, False
    table.add_column("explainer", max_width=_NAME, overflow="fold")
    for column in columns:
        table.add_column(header(column).replace("_", "_\n"), justify="right", vertical="bottom")
    for place, name in enumerate(block.explainers):
        if place == len(block.explainers) - block.n_controls:
            table.add_section()
        entries = [_entry(block.numbers[name, column]) for column in columns]
        is_control = place >= len(block.explainers) - block.n_controls
        table.add_row(name, *entries, style="dim" if is_control else "")
    return table


def _entry(number: Number) -> Text:
    if number.status != "ok":
        styles = {"failed": "red", "skipped": "yellow"}
        word = "–" if number.status == "absent" else number.status
        return Text(word, style=styles.get(number.status, ""))
    text = measured(number.mean) + (" †" if number.tied else "")
    return Text(text, style="bold" if number.best else "")


def _remarks(block: Block) -> list[Text]:
    """The reasons of failures; those of skips are in the report."""
    reasons = [cell.outcome.reason for cell in block.cells if cell.outcome.status != "ok"]
    reasons += [
        f"{number.explainer}: {reason}"
        for number in block.numbers.values()
        if number.status == "failed"
        for reason in number.reasons
    ]
    return [Text(reason, style="red") for reason in dict.fromkeys(reasons)]
