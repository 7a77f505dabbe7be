"""What is left of the explained output while the most important units are removed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from xai_bench.results.report.figures.export import Picture
from xai_bench.results.report.figures.lines import Curve, CurveFigure, CurvePlot
from xai_bench.results.report.summary import Block
from xai_bench.results.report.table import Section, title
from xai_bench.results.statistics.intervals import Floats, mean_intervals
from xai_bench.results.store.store import Store

N_POINTS = 21


def section(store: Store, blocks: Sequence[Block]) -> Section:
    """A picture of the removal curves that metrics measured, and the curves as CSV."""
    import pandas as pd

    plots = curve_plots(store, blocks)
    rows = [
        {
            "place": plot.title,
            "explainer": curve.name,
            "removed": x,
            "output": y,
            "low": a,
            "high": b,
        }
        for plot in plots
        for curve in plot.curves
        for x, y, a, b in zip(curve.x, curve.y, curve.low, curve.high, strict=True)
    ]
    figures: dict[str, Picture] = {}
    if plots:
        label = "share of units removed, the most important first"
        figures["removal"] = CurveFigure(plots, label, "explained output")
    return Section(lambda _: [], {"removal.csv": pd.DataFrame(rows)}, figures)


def curve_plots(store: Store, blocks: Sequence[Block]) -> tuple[CurvePlot, ...]:
    """One per block in which curves were measured."""
    plots = [CurvePlot(title(block), _curves(store, block)) for block in blocks]
    return tuple(plot for plot in plots if plot.curves)


def _curves(store: Store, block: Block) -> tuple[Curve, ...]:
    measured: dict[str, list[tuple[Floats, Any]]] = {}
    for cell, listed in block.listing:
        for result in listed:
            curves = _measured(store, cell.key, result.key)
            if curves is not None:
                part = (curves, np.stack([np.full(len(curves), cell.seed), result.index.numpy()]))
                measured.setdefault(result.explainer, []).append(part)
    return tuple(
        _curve(name, measured[name], control=name not in block.methods)
        for name in block.explainers
        if name in measured
    )


def _measured(store: Store, cell: str, explanation: str) -> Floats | None:
    """`[N, N_POINTS]` the output over the share removed; of several curves the finest."""
    curves = [
        curve for curve in store.measured(cell, explanation).values() if "most_first" in curve
    ]
    if not curves:
        return None
    finest = max(curves, key=lambda curve: curve["removed"].shape[1])
    # Samples with other numbers of units have other shares, and a mean needs common ones.
    grid = np.linspace(0, 1, N_POINTS)
    pairs = zip(finest["removed"].numpy(), finest["most_first"].double().numpy(), strict=True)
    return np.stack([np.interp(grid, removed, output) for removed, output in pairs])


def _curve(name: str, parts: Sequence[tuple[Floats, Any]], *, control: bool) -> Curve:
    values = np.concatenate([part[0] for part in parts])
    seeds, rows = np.concatenate([part[1] for part in parts], axis=1)
    mean, low, high = mean_intervals(values.T, seeds, rows)
    return Curve(name, np.linspace(0, 1, N_POINTS), mean, low, high, control)
