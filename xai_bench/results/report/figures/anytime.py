"""Scores against the rows that were spent on them: one line per explainer with several budgets."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from xai_bench.results.drawing import grid
from xai_bench.results.drawing.style import Look, counts, drawable, looks, plain, shortened, style
from xai_bench.results.report.figures.lines import Spot, legend

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_FAR = 1.0


@dataclass(frozen=True)
class AnytimePlot:
    """One metric.

    Attributes:
        lines: explainer -> its scores, each with the rows it took.
        dots: explainers that were run at one budget only.
        levels: the scores of controls, drawn across.
    """

    title: str
    lines: Mapping[str, tuple[Spot, ...]]
    dots: tuple[Spot, ...]
    levels: tuple[Spot, ...]


@dataclass(frozen=True)
class AnytimeFigure:
    """One small plot per metric and one legend for all."""

    title: str
    plots: tuple[AnytimePlot, ...]

    def draw(self) -> Figure:
        """The figure, drawn anew."""
        lines = dict.fromkeys(name for plot in self.plots for name in plot.lines)
        dots = dict.fromkeys(dot.name for plot in self.plots for dot in plot.dots)
        levels = dict.fromkeys(level.name for plot in self.plots for level in plot.levels)
        look_of = looks([*lines, *dots], levels)
        with style([self.title, *look_of, *(plot.title for plot in self.plots)]):
            width = grid.name_width([shortened(name) for name in look_of]) + 0.6
            figure, axes = grid.panels(len(self.plots), 3, (2.6, 2.2), width)
            for axis, plot in zip(axes, self.plots, strict=True):
                _plot(axis, plot, look_of)
            figure.supxlabel("model rows per sample", fontsize=8)
            legend(figure, look_of)
            room = figure.get_figwidth() - width  # beside the legend, not over it
            text = grid.wrapped(drawable(self.title), room, 9)
            figure.suptitle(text, x=0.02, ha="left", fontsize=9)
            return figure


def _plot(axis: Axes, plot: AnytimePlot, looks: Mapping[str, Look]) -> None:
    for name, spots in plot.lines.items():
        look, rows = looks[name], [spot.x for spot in spots]
        low, high = ([_end(s, side) for s in spots] for side in ("low", "high"))
        axis.fill_between(rows, low, high, color=look.color, alpha=0.13, linewidth=0)
        means = [spot.y for spot in spots]
        axis.plot(
            rows, means, look.marker, color=look.color, linestyle=look.dash, markersize=4,
            linewidth=1.3,
        )  # fmt: skip
    for dot in plot.dots:
        look = looks[dot.name]
        axis.plot([dot.x], [dot.y], look.marker, color=look.color, markerfacecolor="white")
    most = max([spot.x for spots in plot.lines.values() for spot in spots], default=1.0)
    # A factor, since the axis is logarithmic: room to the right of the last mark.
    axis.set_xlim(0, 1.6 * max([most, *(dot.x for dot in plot.dots)]))
    counts(axis)
    _levels(axis, plot, looks)
    axis.set_title(grid.wrapped(drawable(plot.title).replace("_", " "), 2.2, 9))
    plain(axis, "both")


def _levels(axis: Axes, plot: AnytimePlot, looks: Mapping[str, Look]) -> None:
    """Controls as horizontal lines; one so far off that it would flatten all else is named."""
    # The limits that matplotlib took from the methods alone: controls are drawn after them.
    low, high = axis.get_ylim()
    far = _FAR * (high - low)
    outside: dict[bool, list[str]] = {True: [], False: []}
    for level in plot.levels:
        if low - far <= level.y <= high + far:
            axis.axhline(level.y, color=looks[level.name].color, linestyle=looks[level.name].dash)
        else:
            outside[level.y > high].append(f"{level.name} {level.y:.3g}")
    for above, names in outside.items():
        y, side = (0.97, "top") if above else (0.03, "bottom")
        text = "\n".join(f"{'↑' if above else '↓'} {name}" for name in names)
        look: dict[str, Any] = {"ha": "right", "va": side, "fontsize": 6, "color": "#777777"}
        if names:
            # A white ground, since lines may pass under the names.
            look["bbox"] = {"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 1}
            axis.text(0.98, y, text, look, transform=axis.transAxes)


def _end(spot: Spot, side: str) -> float:
    """The bounds of a single sample's interval are infinite: draw none."""
    bound = float(getattr(spot, side))
    return bound if math.isfinite(bound) else spot.y
