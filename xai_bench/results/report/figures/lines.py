"""Pictures with lines and points: removal curves, fidelity against cost, predictions, scores."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from xai_bench.results.drawing import grid
from xai_bench.results.drawing.style import (
    BEST,
    CONTROL,
    OTHER,
    TIED,
    Look,
    counts,
    drawable,
    looks,
    plain,
    shortened,
    style,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Curve:
    """A line with a band: `y`, `low` and `high` at `x`, all `[P]`."""

    name: str
    x: Floats
    y: Floats
    low: Floats
    high: Floats
    control: bool = False


@dataclass(frozen=True, eq=False)
class CurvePlot:
    """One small plot of `CurveFigure`."""

    title: str
    curves: tuple[Curve, ...]


@dataclass(frozen=True, eq=False)
class CurveFigure:
    """Curves with bands, one plot per data set and one legend for all; controls are grey."""

    plots: tuple[CurvePlot, ...]
    x_label: str
    y_label: str

    def draw(self) -> Figure:
        """The figure, drawn anew."""
        names = list(dict.fromkeys(c.name for p in self.plots for c in p.curves if not c.control))
        controls = list(dict.fromkeys(c.name for p in self.plots for c in p.curves if c.control))
        look_of = looks(names, controls)
        with style([self.x_label, self.y_label, *look_of, *(p.title for p in self.plots)]):
            width = grid.name_width([shortened(name) for name in look_of]) + 0.6
            figure, axes = grid.panels(len(self.plots), 3, (2.6, 2.3), width)
            for axis, plot in zip(axes, self.plots, strict=True):
                for curve in plot.curves:
                    _banded(axis, curve, look_of[curve.name])
                axis.set_title(grid.wrapped(drawable(plot.title), 2.2, 9))
                plain(axis, "both")
            figure.supxlabel(drawable(self.x_label), fontsize=8)
            figure.supylabel(drawable(self.y_label), fontsize=8)
            legend(figure, look_of)
            return figure


@dataclass(frozen=True)
class Spot:
    """A point with its interval in `y`."""

    name: str
    x: float
    y: float
    low: float
    high: float
    control: bool = False


@dataclass(frozen=True)
class SpotPlot:
    """`higher_is_better` tells the front: no other method is better and as cheap."""

    title: str
    y_label: str
    higher_is_better: bool
    spots: tuple[Spot, ...]

    def front(self) -> tuple[Spot, ...]:
        """The methods that none is better than at the same cost or less, cheapest first."""
        sign = 1 if self.higher_is_better else -1
        methods = [spot for spot in self.spots if not spot.control]
        # Of equal costs the best comes first, so that the worse ones are not taken for the front.
        ordered = sorted(methods, key=lambda spot: (spot.x, -sign * spot.y))
        front: list[Spot] = []
        for spot in ordered:
            if not front or sign * spot.y > sign * front[-1].y:
                front.append(spot)
        return tuple(front)


@dataclass(frozen=True)
class ParetoFigure:
    """A score against what it costs, with the front drawn through what is not beaten."""

    plots: tuple[SpotPlot, ...]
    x_label: str

    def draw(self) -> Figure:
        """The figure, drawn anew."""
        spots = [spot for plot in self.plots for spot in plot.spots]
        names = dict.fromkeys(spot.name for spot in spots if not spot.control)
        controls = dict.fromkeys(spot.name for spot in spots if spot.control)
        look_of = looks(names, controls)
        with style([self.x_label, *look_of, *(p.title + p.y_label for p in self.plots)]):
            width = grid.name_width([shortened(name) for name in look_of]) + 0.6
            figure, axes = grid.panels(len(self.plots), 3, (2.6, 2.3), width)
            for axis, plot in zip(axes, self.plots, strict=True):
                _spots(axis, plot, look_of)
            figure.supxlabel(drawable(self.x_label), fontsize=8)
            legend(figure, look_of, lines=False)
            return figure


@dataclass(frozen=True, eq=False)
class PredictedPlot:
    """What the model says against what was true, `[N]` each; `note` such as "R² 0.61"."""

    title: str
    actual: Floats
    predicted: Floats
    note: str = ""


@dataclass(frozen=True, eq=False)
class PredictedFigure:
    """Predicted against actual values; a perfect model lies on the line."""

    plots: tuple[PredictedPlot, ...]

    def draw(self) -> Figure:
        """The figure, drawn anew."""
        with style([p.title + p.note for p in self.plots]):
            figure, axes = grid.panels(len(self.plots), 3, (2.6, 2.6))
            for axis, plot in zip(axes, self.plots, strict=True):
                both = np.concatenate([plot.actual, plot.predicted])
                ends = [float(both.min()), float(both.max())]
                axis.plot(ends, ends, color="#777777", linewidth=0.8, linestyle="--")
                axis.scatter(plot.actual, plot.predicted, s=10, color=BEST, alpha=0.7, linewidths=0)
                axis.set_title(grid.wrapped(drawable(plot.title), 2.2, 9))
                axis.text(0.03, 0.97, drawable(plot.note), transform=axis.transAxes, va="top")
                axis.set_xlabel("actual")
                axis.set_ylabel("predicted")
                axis.locator_params(nbins=5)
                plain(axis, "both")
            return figure


@dataclass(frozen=True)
class Dot:
    """One mean with its interval; `standing` is `best`, `tied`, `other` or `control`."""

    name: str
    mean: float
    low: float
    high: float
    standing: str = "other"


@dataclass(frozen=True)
class DotFigure:
    """A small plot per metric: every explainer's mean and its interval, controls below a line.

    An explainer without a number in a metric has no dot there.
    """

    title: str
    names: tuple[str, ...]
    n_controls: int
    metrics: Mapping[str, tuple[Dot, ...]] = field(default_factory=dict)

    def draw(self) -> Figure:
        """The figure, drawn anew."""
        from matplotlib.figure import Figure

        labels = [shortened(name) for name in self.names]
        with style([self.title, *labels, *self.metrics]):
            n_across = min(len(self.metrics), 4)
            n_down = -(-len(self.metrics) // n_across)
            width = grid.name_width(labels) + 1.75 * n_across
            height = 0.4 + n_down * (0.55 + 0.17 * len(labels))
            figure = Figure(figsize=(width, height), layout="constrained")
            axes = figure.subplots(n_down, n_across, sharey=True, squeeze=False).flatten().tolist()
            for axis, (metric, dots) in zip(axes, self.metrics.items(), strict=False):
                self._metric(axis, metric, dots)
            for axis in axes[len(self.metrics) :]:
                axis.remove()
            figure.suptitle(grid.wrapped(drawable(self.title), width - 0.4, 9), fontsize=9)
            for axis in axes[: len(self.metrics) : n_across]:
                axis.set_yticks(range(len(labels)), labels=labels)
                # Downwards, so that the first name stands on top as in the tables.
                axis.set_ylim(len(labels) - 0.5, -0.5)
            return figure

    def _metric(self, axis: Axes, metric: str, dots: Sequence[Dot]) -> None:
        colors = {"best": BEST, "tied": TIED, "control": CONTROL}
        for dot in dots:
            place, color = self.names.index(dot.name), colors.get(dot.standing, OTHER)
            # The interval of a single sample is infinite, which no line can show.
            span = [dot.low if math.isfinite(dot.low) else dot.mean]
            span += [dot.high if math.isfinite(dot.high) else dot.mean]
            marker = "D" if dot.standing == "best" else "o"
            axis.plot(span, [place, place], color=color, linewidth=1.5)
            axis.plot([dot.mean], [place], marker, color=color, markersize=4)
        axis.set_title(grid.wrapped(drawable(metric).replace("_", " "), 1.6, 8), fontsize=8)
        axis.locator_params(axis="x", nbins=4)
        plain(axis, "x")
        axis.tick_params(axis="y", length=0)
        if 0 < self.n_controls < len(self.names):
            axis.axhline(len(self.names) - self.n_controls - 0.5, color="#b0b0b0", linewidth=0.6)


def legend(figure: Figure, look_of: Mapping[str, Look], *, lines: bool = True) -> None:
    """One entry per name, to the right of all plots."""
    from matplotlib.lines import Line2D

    handles = [
        Line2D(
            [], [], color=look.color, marker=look.marker, markersize=4, linewidth=1.4,
            linestyle=look.dash if lines else "none", label=shortened(name),
        )
        for name, look in look_of.items()
    ]  # fmt: skip
    figure.legend(handles=handles, loc="outside right upper")


def _banded(axis: Axes, curve: Curve, look: Look) -> None:
    axis.fill_between(
        curve.x, curve.low, curve.high, color=look.color, alpha=0.08 if curve.control else 0.14,
        linewidth=0,
    )  # fmt: skip
    # A mark at each of many points would hide the line.
    every = max(len(curve.x) // 8, 1)
    axis.plot(
        curve.x, curve.y, color=look.color, marker=look.marker, markersize=3, linewidth=1.2,
        linestyle=look.dash, markevery=every,
    )  # fmt: skip


def _spots(axis: Axes, plot: SpotPlot, look_of: Mapping[str, Look]) -> None:
    front = plot.front()
    # Steps and no slopes, as there is no method between two of them.
    steps: Any = [(spot.x, spot.y) for spot in front]
    if steps:
        axis.plot(*zip(*steps, strict=True), color="#999999", linewidth=0.9, drawstyle="steps-post")
    for spot in plot.spots:
        look = look_of[spot.name]
        inner = look.color if spot in front or spot.control else "white"
        span = [v if math.isfinite(v) else spot.y for v in (spot.low, spot.high)]
        axis.plot([spot.x] * 2, span, color=look.color, linewidth=1.0)
        axis.plot(
            [spot.x], [spot.y], look.marker, color=look.color, markerfacecolor=inner, markersize=5
        )
    most = max((spot.x for spot in plot.spots), default=1.0)
    # A little below 0, so that marks at no cost are not cut by the axis.
    axis.set_xlim(-0.15, 2 * max(most, 1.0))
    counts(axis)
    axis.set_title(grid.wrapped(drawable(plot.title), 2.2, 9))
    axis.set_ylabel(drawable(plot.y_label).replace("_", " "))
    plain(axis, "both")
