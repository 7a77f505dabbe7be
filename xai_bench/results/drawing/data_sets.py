"""What a method says of a whole data set: beeswarm and dependence, and one sample's waterfall."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from xai_bench.results.drawing import grid
from xai_bench.results.drawing.sheets import labelled, largest
from xai_bench.results.drawing.style import (
    NEGATIVE,
    POSITIVE,
    drawable,
    plain,
    shortened,
    style,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Floats = npt.NDArray[np.float64]

VALUES = "cividis"
"""From low to high values; its lightness rises evenly, so that it can be read in grey."""


@dataclass(frozen=True, eq=False)
class Waterfall:
    """How the contributions `[U]` of one sample add up to the output.

    It starts at `output` less all contributions, which is the output at the baseline where the
    method is complete. `held` is what the sample has in each unit, where that is known.
    """

    headline: str
    units: tuple[str, ...]
    held: tuple[str, ...]
    values: Floats
    output: float
    what: str = "output"
    most: int = 12

    def draw(self) -> Figure:
        """One panel."""
        labels, values = largest(labelled(self.units, self.held), self.values[None], self.most)
        steps = values[0]
        start = self.output - float(self.values.sum())
        ends = start + np.cumsum(steps)
        with style([self.headline, self.what, *labels]):
            width = grid.name_width(labels) + 4.2
            figure, axis = grid.rows(len(labels) + 2, width, more=1.1)
            for place, (step, end) in enumerate(zip(steps, ends, strict=True), start=1):
                _step(axis, place, float(end - step), float(end))
            names = [f"without all: {_number(start)}", *labels, f"output: {_number(self.output)}"]
            for place, level in ((0, start), (len(names) - 1, self.output)):
                axis.plot([level] * 2, [place - 0.4, place + 0.4], color="black", linewidth=1.5)
            axis.set_yticks(range(len(names)), labels=names)
            axis.set_ylim(len(names) - 0.4, -0.6)
            levels = [start, self.output, *ends]
            room = 0.04 * grid.bound(np.ptp(levels))
            # More room to the right, where the numbers stand.
            axis.set_xlim(min(levels) - room, max(levels) + 3.5 * room)
            axis.set_xlabel(drawable(self.what))
            plain(axis, "x")
            figure.suptitle(grid.wrapped(drawable(self.headline), width - 0.4, 9), fontsize=9)
            return figure


@dataclass(frozen=True, eq=False)
class Beeswarm:
    """Attributions of all samples, a row per unit, coloured by the unit's own value.

    `values [N, U]` attributions, `x [N, U]` what the units hold; NaN where a unit holds no number.
    """

    headline: str
    units: tuple[str, ...]
    values: Floats
    x: Floats
    most: int = 12

    def draw(self) -> Figure:
        """One panel."""
        order = np.argsort(-np.abs(self.values).mean(0), kind="stable")[: self.most]
        labels = [shortened(self.units[i], 32) for i in order]
        with style([self.headline, *labels]):
            width = grid.name_width(labels) + 4.8
            figure, axis = grid.rows(len(labels), width, each=0.3, more=1.1)
            for place, unit in enumerate(order):
                spread = place + _swarm(self.values[:, unit])
                is_finite = np.isfinite(self.x[:, unit]).all()
                shade: Any = _places(self.x[:, unit]) if is_finite else "#777777"
                colors: Any = {"cmap": VALUES, "vmin": 0, "vmax": 1} if is_finite else {}
                sizes: Any = {"s": 9, "linewidths": 0, "alpha": 0.9}
                axis.scatter(self.values[:, unit], spread, c=shade, **sizes, **colors)
            axis.axvline(0, color="#444444", linewidth=0.6)
            axis.set_yticks(range(len(labels)), labels=labels)
            axis.set_ylim(len(labels) - 0.5, -0.5)
            axis.set_xlabel("attribution")
            plain(axis, "y")
            _value_scale(figure, axis)
            figure.suptitle(grid.wrapped(drawable(self.headline), width - 0.4, 9), fontsize=9)
            return figure


@dataclass(frozen=True, eq=False)
class Dependence:
    """Attribution of a unit against its value, for the units that matter most."""

    headline: str
    units: tuple[str, ...]
    values: Floats
    x: Floats
    most: int = 4

    def draw(self) -> Figure:
        """One panel."""
        numbers = np.asarray(np.isfinite(self.x).all(0))
        sizes = np.where(numbers, np.abs(self.values).mean(0), -1.0)
        order = [i for i in np.argsort(-sizes, kind="stable")[: self.most] if numbers[i]]
        with style([self.headline, *self.units]):
            figure, axes = grid.panels(len(order), 4, (2.1, 1.9), 0.2)
            for axis, unit in zip(axes, order, strict=True):
                axis.scatter(
                    self.x[:, unit], self.values[:, unit], s=9, color="#0072b2", linewidths=0
                )
                axis.axhline(0, color="#444444", linewidth=0.6)
                axis.set_xlabel(grid.wrapped(shortened(self.units[unit], 30), 1.7))
                axis.locator_params(nbins=5)
                plain(axis, "both")
            for axis in axes[:1]:
                axis.set_ylabel("attribution")
            width = figure.get_figwidth()
            figure.suptitle(grid.wrapped(drawable(self.headline), width - 0.4, 9), fontsize=9)
            return figure


def _step(axis: Any, place: int, start: float, end: float) -> None:
    """One bar, with its value beyond its end; what lowers the output is hatched."""
    rises = end >= start
    color, hatch = (POSITIVE, "") if rises else (NEGATIVE, "////")
    axis.barh(
        place, end - start, left=start, color=color, hatch=hatch, edgecolor="white", linewidth=0,
        height=0.7,
    )  # fmt: skip
    axis.plot([end, end], [place + 0.35, place + 0.65], color="#888888", linewidth=0.6)
    text = f"{'+' if rises else '−'}{_number(abs(end - start))}"
    axis.annotate(
        text, (max(start, end), place), (3, 0), textcoords="offset points", va="center", fontsize=7
    )


def _swarm(values: Floats) -> Floats:
    """`[N]` heights in -0.4 .. 0.4: points that would lie on each other go apart."""
    n_bins = 40
    span = max(float(np.ptp(values)), 1e-12)
    bins = np.minimum(((values - values.min()) / span * n_bins).astype(int), n_bins - 1)
    heights = np.zeros(len(values))
    fullest = max(int(np.bincount(bins).max()), 1)
    for cell in np.unique(bins):
        inside = np.flatnonzero(bins == cell)
        order = np.arange(len(inside))
        sides = np.where(order % 2 == 0, 1, -1) * ((order + 1) // 2)
        # As if there were eight at least: few points stay near their line.
        heights[inside] = sides * 0.8 / max(fullest, 8)
    return heights


def _places(values: Floats) -> Floats:
    """Ranks from 0 to 1: one far value takes no colour from the others."""
    order = np.unique(values, return_inverse=True)[1]
    return np.asarray(order / max(int(order.max()), 1), dtype=np.float64)


def _value_scale(figure: Figure, axis: Any) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    bar = figure.colorbar(ScalarMappable(Normalize(0, 1), VALUES), ax=axis, aspect=40, pad=0.01)
    bar.set_ticks([0, 1], labels=["low", "high"])
    bar.set_label("value of the unit", labelpad=-8)


def _number(value: float) -> str:
    if not math.isfinite(value):
        return "unknown"
    return f"{value:.3g}".replace("-", "−")
