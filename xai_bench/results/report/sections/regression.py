"""What a regression model predicts against what is true, on the explained samples."""

from __future__ import annotations

from collections.abc import Sequence

from xai_bench.results.report.figures.lines import PredictedFigure, PredictedPlot
from xai_bench.results.report.summary import Block
from xai_bench.results.report.table import Section, measured, title
from xai_bench.results.store.store import Store


def section(store: Store, blocks: Sequence[Block]) -> Section:
    """A picture with a plot per block whose model predicts a value."""
    plots = tuple(plot for block in blocks if (plot := _plot(store, block)) is not None)
    return Section(lambda _: [], {}, {"predicted": PredictedFigure(plots)} if plots else {})


def _plot(store: Store, block: Block) -> PredictedPlot | None:
    cell = block.cells[0]
    predictions = store.read_predictions(cell.key)
    if predictions is None or predictions.class_names or predictions.outputs.shape[1] != 1:
        return None
    quality = [f"{name} {measured(value)}" for name, value in cell.model_scores.items()]
    return PredictedPlot(
        title=f"{title(block)}, seed {cell.seed}",
        actual=predictions.labels.double().numpy(),
        predicted=predictions.outputs[:, 0].double().numpy(),
        note="\n".join(quality[:2]),
    )
