"""A table for the end of a run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.table import Table as RichTable
from rich.text import Text

from xai_bench.results.report.main_metrics import main_columns
from xai_bench.results.report.summary import Block, Column, Number
from xai_bench.results.report.table import header, measured
from xai_bench.results.report.verdict.verdict import Verdict, percent

_NAME = 34
_UNLIMITED = 10_000


def terminal(
    blocks: Sequence[Block], *, metrics: Sequence[str] = (), full: bool = False
) -> RenderableType:
    """The main metrics of every table, or those asked for; with `full` all.

    No text is cut and no column dropped: on a narrow terminal there are more tables.
    """
    parts: list[RenderableType] = []
    for block in blocks:
        columns = block.scored if full else tuple(main_columns(block, metrics))
        parts += [_Fitting(block, columns), *_remarks(block)]
    if any(block.scored for block in blocks):
        marks = "bold: best method   †: not significantly different from it"
        parts.append(Text(marks, style="dim"))
    return Group(*parts)


def verdict(verdicts: Sequence[Verdict]) -> RenderableType:
    """A line per question: the winner, how sure that is, and the share of rivals it beats."""
    if not verdicts:
        return Text("nothing can be compared: no metric has a score of two methods", style="dim")
    table = RichTable(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for line in verdicts:
        share = percent(line.standings[0].beaten)
        answer = Text(line.headline, style="bold")
        table.add_row(line.question.asked, answer + Text(f", beats {share} of its rivals"))
    return table


@dataclass(frozen=True, eq=False)
class _Fitting:
    """A block, rendered as tables that are as wide as the terminal allows."""

    block: Block
    columns: Sequence[Column]

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> Iterator[RenderableType]:
        columns = list(self.columns)
        while columns:
            n = len(columns)
            while n > 1 and not self._fits(columns[:n], options.max_width, console):
                n -= 1
            yield _table(self.block, columns[:n])
            columns = columns[n:]

    def _fits(self, columns: Sequence[Column], width: int, console: Console) -> bool:
        # Measured without the terminal's width, because a measure within it never exceeds it.
        unlimited = console.options.update(max_width=_UNLIMITED)
        return console.measure(_table(self.block, columns), options=unlimited).maximum <= width


def _table(block: Block, columns: Sequence[Column]) -> RichTable:
    names = block.names
    title = f"{names['data']}, {names['model']} {block.variant}".strip()
    table = RichTable(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD)
    table.collapse_padding, table.pad_edge = True, False
    table.add_column("explainer", max_width=_NAME, overflow="fold")
    for column in columns:
        # Rich breaks lines at spaces, and names of metrics have none.
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
