"""The content of a table, independent of its format."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING

from xai_bench.results.report.regimes import base, sentence
from xai_bench.results.report.summary import Block, Column, Number

if TYPE_CHECKING:
    from pandas import DataFrame

    from xai_bench.results.report.figures.export import Picture

LEGEND = (
    "Mean ± half the width of its 95 % interval (over samples and seeds). "
    "Bold: the best method, or all that share its mean; †: not significantly different from "
    "it (the paired interval holds 0). "
    "Controls are not ranked. (n): samples scored, where not all are."
)


@dataclass(frozen=True)
class Entry:
    """One field: a number or a status as text, its marks, and the numbers of its notes."""

    text: str
    best: bool = False
    tied: bool = False
    notes: tuple[int, ...] = ()


@dataclass(frozen=True)
class Head:
    """The two lines above a column."""

    category: str
    text: str


@dataclass(frozen=True)
class Panel:
    """Some columns of a table, side by side; `rows` are a name and its entries.

    The last `n_controls` rows are below a line; `corner` is the heading of the names.
    """

    heads: tuple[Head, ...]
    rows: tuple[tuple[str, tuple[Entry, ...]], ...]
    n_controls: int = 0
    corner: str = "explainer"

    @property
    def categories(self) -> list[tuple[str, int]]:
        """Each category and how many columns it spans."""
        return [(name, len(list(run))) for name, run in groupby(h.category for h in self.heads)]


@dataclass(frozen=True)
class Table:
    """Something to read, before anyone decides how.

    Attributes:
        panels: its columns, in parts that stand below each other.
        notes: reasons, cited by number from 1.
        folded: a detail: Markdown hides it behind its title, LaTeX leaves it out.
        figure: the name of a picture of the same.
    """

    title: str
    caption: str
    panels: tuple[Panel, ...]
    notes: tuple[str, ...] = ()
    legend: str = LEGEND
    folded: bool = False
    figure: str = ""


@dataclass(frozen=True, eq=False)
class Section:
    """One part of a report.

    Attributes:
        tables: the tables with at most so many columns side by side.
        frames: file name -> the same as CSV.
        figures: name without ending -> picture.
    """

    tables: Callable[[int], list[Table]]
    frames: Mapping[str, DataFrame] = field(default_factory=dict)
    figures: Mapping[str, Picture] = field(default_factory=dict)


def table(block: Block, columns: Sequence[Column], n_columns: int) -> Table:
    """Some metrics of a block, in panels of whole categories, up to `n_columns` metrics wide."""
    rows = shown(block, columns)
    numbers = [block.numbers[name, column] for column in columns for name in rows]
    notes = list(dict.fromkeys(reason for number in numbers for reason in number.reasons))
    outcomes = {cell.outcome.reason: None for cell in block.cells if cell.outcome.status != "ok"}
    return Table(
        title=title(block),
        caption=caption(block),
        panels=tuple(_panel(block, part, rows, notes) for part in parts(columns, n_columns)),
        notes=(*notes, *outcomes),
    )


def shown(block: Block, columns: Sequence[Column]) -> list[str]:
    """The explainers with a score or a failure in any of these metrics."""
    statuses = ("ok", "failed")
    return [
        name
        for name in block.explainers
        if any(block.numbers[name, column].status in statuses for column in columns)
    ]


def header(column: Column) -> str:
    """The label of a metric with an arrow towards the better scores."""
    return f"{column.label} {'↑' if column.higher_is_better else '↓'}"


def measured(mean: float, half: float = 0.0) -> str:
    """A mean as text, with `± half` where that is finite and not 0.

    Both have the decimal places that show three significant digits of the larger one.
    """
    if not math.isfinite(mean):
        return "–"
    half = half if math.isfinite(half) else 0.0
    size = max(abs(mean), half)
    # Of what is shown: 9.999 is 10.0, whose power is another.
    power = int(f"{size:.2e}".partition("e")[2])
    if power >= 6 or power < -3:
        digits = [f"{value / 10**power:.2f}" for value in (mean, half)]
        inner = digits[0] if half == 0 else f"({digits[0]} ± {digits[1]})"
        return f"{inner}e{power}"
    places = max(2 - power, 0)
    # Of counts: decimals would say nothing.
    exact = half == 0 and mean == round(mean)
    text = f"{mean:.{0 if exact else places}f}"
    return text if half == 0 else f"{text} ± {half:.{places}f}"


def entry(number: Number, notes: Sequence[str]) -> Entry:
    """A number as a field; its reasons are cited by their place in `notes`, from 1."""
    cited = tuple(notes.index(reason) + 1 for reason in number.reasons)
    if number.status != "ok":
        return Entry("–" if number.status == "absent" else number.status, notes=cited)
    text = measured(number.mean, (number.high - number.low) / 2)
    if number.n_scored < number.n_samples:
        text += f" ({number.n_scored})"
    return Entry(text, number.best, number.tied, cited)


def _panel(
    block: Block, columns: tuple[Column, ...], rows: Sequence[str], notes: Sequence[str]
) -> Panel:
    entries = tuple(
        (name, tuple(entry(block.numbers[name, column], notes) for column in columns))
        for name in rows
    )
    return Panel(heads(columns), entries, sum(name not in block.methods for name in rows))


def heads(columns: Sequence[Column]) -> tuple[Head, ...]:
    """Category and label of each metric."""
    return tuple(Head(column.category, header(column)) for column in columns)


def parts(columns: Sequence[Column], n_columns: int) -> Iterator[tuple[Column, ...]]:
    """The columns in parts of at most `n_columns`: whole categories; one that is wider is cut."""
    part: list[Column] = []
    for _, run in groupby(columns, key=lambda column: column.category):
        category = list(run)
        if part and len(part) + len(category) > n_columns:
            yield tuple(part)
            part = []
        part += category
        while len(part) > n_columns:
            yield tuple(part[:n_columns])
            part = part[n_columns:]
    if part:
        yield tuple(part)


def title(block: Block, *, variant: bool = True) -> str:
    """Data and model, and where there are several such blocks, the settings that differ."""
    names = block.names
    settings = f" ({block.variant})" if variant and block.variant else ""
    return f"{names['data']}, {names['model']}{settings}"


def caption(block: Block) -> str:
    """What a table shows: model, data, target, samples, seeds and regimes."""
    names = block.names
    seeds = ", ".join(str(cell.seed) for cell in block.cells)
    regimes: dict[str, list[str]] = {}
    for name in block.methods:
        regimes.setdefault(base(name), []).extend(block.regimes[name])
    # Numbers count a sample once per seed.
    n_samples = max((n.n_samples for n in block.numbers.values()), default=0) // len(block.cells)
    return (
        f"Model {names['model']}{_quality(block)} on {names['data']}, explained as "
        f"{names['target']} on {names['view']}. Absent units are {names['baseline_explain']} for "
        f"explainers and {names['baseline_measure']} for metrics. {n_samples} samples, "
        f"{'seed' if len(block.cells) == 1 else 'seeds'} {seeds}. {_one_seed(block)}"
        f"{sentence(regimes)}"
    ).strip()


def _one_seed(block: Block) -> str:
    """What an interval over samples alone cannot say."""
    return "" if len(block.cells) > 1 else "Intervals say nothing of other seeds. "


def _quality(block: Block) -> str:
    """Mean model scores over the seeds."""
    first = block.cells[0].model_scores
    means = {
        name: sum(cell.model_scores.get(name, math.nan) for cell in block.cells) / len(block.cells)
        for name in first
    }
    scores = ", ".join(f"{name} {measured(value)}" for name, value in means.items())
    return f" ({scores})" if scores else ""
