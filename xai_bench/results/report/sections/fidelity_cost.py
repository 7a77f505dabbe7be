"""How faithful methods are for what they cost: the Pareto front."""

from __future__ import annotations

from collections.abc import Sequence

from xai_bench.results.report.figures.lines import ParetoFigure, Spot, SpotPlot
from xai_bench.results.report.main_metrics import KEY_METRICS
from xai_bench.results.report.summary import Block, Column
from xai_bench.results.report.table import Section, header, title

ROWS = ("forward_rows", "gradient_rows")
CATEGORIES = ("truth", "fidelity")


def section(blocks: Sequence[Block]) -> Section:
    """A picture with a plot per block that counted rows and scored fidelity."""
    plots = pareto_plots(blocks)
    label = "model rows per sample, forward and gradient (filled: none is better and as cheap)"
    figures = {"fidelity-cost": ParetoFigure(plots, label)} if plots else {}
    return Section(lambda _: [], {}, figures)


def pareto_plots(blocks: Sequence[Block]) -> tuple[SpotPlot, ...]:
    """One per block, of its first key metric of truth or fidelity against rows."""
    chosen = [(block, _column(block)) for block in blocks]
    plots = [_plot(block, column) for block, column in chosen if column is not None]
    return tuple(plot for plot in plots if len(plot.spots) > 1)


def rows_of(block: Block, name: str) -> float | None:
    """Model rows per sample; None where they were not counted."""
    counted = [c for c in block.columns if c.metric in ROWS]
    numbers = [block.numbers[name, c] for c in counted]
    means = [number.mean for number in numbers if number.status == "ok"]
    return sum(means) if means else None


def _column(block: Block) -> Column | None:
    """Fidelity before truth, which most data sets lack, and key metrics before others."""
    candidates = [c for c in block.scored if c.category in CATEGORIES]
    # Sorting is stable, so that the first of equals is the first of the table.
    order = sorted(candidates, key=lambda c: (c.category == "truth", c.metric not in KEY_METRICS))
    return order[0] if order else None


def _plot(block: Block, column: Column) -> SpotPlot:
    spots = [
        Spot(n.explainer, rows, n.mean, n.low, n.high, n.explainer not in block.methods)
        for n in block.of(column)
        if n.status == "ok" and (rows := rows_of(block, n.explainer)) is not None
    ]
    return SpotPlot(title(block), header(column), column.higher_is_better, tuple(spots))
