"""Pictures of scores against the model rows that the explainers used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from xai_bench.results.report.formats.figures import bound, png
from xai_bench.results.report.summary import Number
from xai_bench.results.report.table import measured

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_WIDE, _WIDER, _MANY = 3, 4, 6
_PLOT = (2.9, 2.3)
_LEGEND = 2.0
_COLORS = (
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#6a3d9a", "#8c564b",
    "#1b9e77", "#a6761d",
)  # fmt: skip
_SHAPES = "osD^vPX<>h"
_DASHES = ("--", ":", "-.", (0, (8, 2)))
_CEILING = "oracle"
_GREY = "#777777"
_FAR = 1.0
"""Controls farther off than this, in heights of the plot, are named instead of drawn."""


@dataclass(frozen=True)
class Line:
    """An explainer's scores, each with the rows that it used."""

    name: str
    points: tuple[tuple[float, Number], ...]


@dataclass(frozen=True)
class Plot:
    """One metric: lines for explainers at several budgets, dots for others, levels for controls."""

    title: str
    lines: tuple[Line, ...]
    dots: tuple[Line, ...]
    controls: tuple[Number, ...]


def picture(plots: Sequence[Plot]) -> bytes:
    """A PNG with one small plot per metric and one legend for all."""
    from matplotlib.figure import Figure

    n_across = min(len(plots), _WIDE if len(plots) <= _MANY else _WIDER)
    n_down = -(-len(plots) // n_across)
    width, height = _PLOT[0] * n_across + _LEGEND, max(_PLOT[1] * n_down + 0.4, 3.0)
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(n_down, n_across, sharex=True, squeeze=False).flatten()
    looks = _looks(plots)
    drawn: dict[str, Any] = {}
    for plot, axis in zip(plots, axes, strict=False):
        drawn |= _draw(axis, plot, looks)
    for place, axis in enumerate(axes):
        axis.tick_params(labelbottom=place >= len(plots) - n_across)
    for axis in axes[len(plots) :]:
        axis.set_axis_off()
    figure.supxlabel("model rows per sample", fontsize=9)
    handles = [drawn[name] for name in looks if name in drawn]
    figure.legend(handles=handles, loc="outside right upper", fontsize=8, frameon=False)
    return png(figure)


def _looks(plots: Sequence[Plot]) -> Mapping[str, dict[str, Any]]:
    """Explainer -> its style in every plot; lines first, then dots, then controls."""
    lines = dict.fromkeys(line.name for plot in plots for line in plot.lines)
    dots = dict.fromkeys(dot.name for plot in plots for dot in plot.dots)
    controls = dict.fromkeys(number.explainer for plot in plots for number in plot.controls)
    looks: dict[str, dict[str, Any]] = {}
    for i, name in enumerate([*lines, *dots]):
        shape = {"color": _COLORS[i % len(_COLORS)], "marker": _SHAPES[i % len(_SHAPES)]}
        looks[name] = {**shape, "markersize": 4, "linewidth": 1.4}
        if name in dots:
            looks[name] |= {"linestyle": "none", "markerfacecolor": "white", "markersize": 5}
    for i, name in enumerate(control for control in controls if control != _CEILING):
        looks[name] = {"color": _GREY, "linestyle": _DASHES[i % len(_DASHES)], "linewidth": 1.0}
    if _CEILING in controls:
        looks[_CEILING] = {"color": _GREY, "linestyle": "-", "linewidth": 1.0}
    return looks


def _draw(axis: Axes, plot: Plot, looks: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """Draw one plot; explainer -> its handle for the legend."""
    handles: dict[str, Any] = {}
    for line in (*plot.lines, *plot.dots):
        points = [(rows, n) for rows, n in line.points if n.status == "ok" and rows > 0]
        if points:
            look, rows = looks[line.name], [rows for rows, _ in points]
            low, high = ([bound(n, side) for _, n in points] for side in ("low", "high"))
            if len(points) > 1:
                axis.fill_between(rows, low, high, color=look["color"], alpha=0.13, linewidth=0)
            means = [number.mean for _, number in points]
            (handles[line.name],) = axis.plot(rows, means, label=line.name, **look)
    handles |= _levels(axis, plot.controls, looks)
    axis.set_xscale("log")
    axis.xaxis.set_major_formatter("{x:,.0f}")
    axis.minorticks_off()
    axis.set_title(plot.title, fontsize=9)
    axis.tick_params(labelsize=7)
    axis.grid(color="#e5e5e5", linewidth=0.6)
    axis.set_axisbelow(True)
    return handles


def _levels(
    axis: Axes, controls: Sequence[Number], looks: Mapping[str, dict[str, Any]]
) -> dict[str, Any]:
    """Draw controls as horizontal lines; one that would flatten all other lines is named only."""
    low, high = axis.get_ylim()
    handles, far = {}, _FAR * (high - low)
    outside: dict[bool, list[str]] = {True: [], False: []}
    for number in controls:
        if number.status == "ok" and low - far <= number.mean <= high + far:
            look = looks[number.explainer]
            handles[number.explainer] = axis.axhline(number.mean, label=number.explainer, **look)
        elif number.status == "ok":
            outside[number.mean > high].append(f"{number.explainer} {measured(number.mean)}")
    for above, names in outside.items():
        y, side = (0.97, "top") if above else (0.03, "bottom")
        text = "\n".join(f"{'↑' if above else '↓'} {name}" for name in names)
        style: dict[str, Any] = {"ha": "right", "va": side, "fontsize": 6, "color": _GREY}
        if names:
            style["bbox"] = {"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 1}
        axis.text(0.98, y, text, style, transform=axis.transAxes)
    return handles
