"""One sample, explained by every method: heat maps, bars, tokens and series side by side.

Every method's map is divided by its largest absolute value, so that maps in different units can be
looked at together; the sum or size of a map is not to be read here. Pictures are frozen dataclasses
of plain arrays and strings with a `draw`, so that whoever has them, from the store, a model at hand
or elsewhere, draws alike.
Letters: `M` methods, `U` units, `T` tokens or time steps, `H`, `W` height and width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from xai_bench.results.drawing import grid
from xai_bench.results.drawing.style import (
    NEGATIVE,
    POSITIVE,
    SIGNED,
    drawable,
    plain,
    shortened,
    style,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Floats = npt.NDArray[np.float64]

SCALE = "share of the method's largest attribution"
_ACROSS = 6
_FINE = 48
"""Grids with more cells a side are not outlined."""


@dataclass(frozen=True, eq=False)
class ImageSheet:
    """Heat maps over a picture. `picture [H, W]` or `[H, W, 3]` in 0 .. 1, `maps [M, H, W]`.

    Cells above half of the largest value have a solid outline, those below minus half a dashed
    one, so that signs can be told in grey.
    """

    headline: str
    picture: Floats
    methods: tuple[str, ...]
    maps: Floats

    def draw(self) -> Figure:
        """The input, then one panel per method."""
        with style([self.headline, *self.methods]):
            figure, axes = grid.panels(1 + len(self.methods), _ACROSS, (1.35, 1.6))
            axes[0].imshow(self.picture, cmap="gray", vmin=0, vmax=1)
            axes[0].set_title("input")
            for axis, name, values in zip(axes[1:], self.methods, self.maps, strict=True):
                _overlay(axis, self.picture, values / grid.bound(values))
                axis.set_title(_title(name, 1.3))
            for axis in axes:
                axis.set_xticks([])
                axis.set_yticks([])
            _finish(figure, axes, self.headline)
            return figure


@dataclass(frozen=True, eq=False)
class BarSheet:
    """Signed bars per unit, a column per method. `values [M, U]`.

    `held` is what the sample has in each unit, such as "39", where that is known. The largest come
    first, and of the others there is one bar with their sum.
    """

    headline: str
    units: tuple[str, ...]
    held: tuple[str, ...]
    methods: tuple[str, ...]
    values: Floats
    most: int = 12

    def draw(self) -> Figure:
        """One panel per method."""
        labels, values = largest(labelled(self.units, self.held), self.values, self.most)
        with style([self.headline, *self.methods, *labels]):
            figure, axes = _bar_panels(len(self.methods), labels)
            for axis, name, bars in zip(axes, self.methods, values, strict=True):
                _signed_bars(axis, bars / grid.bound(bars))
                axis.set_title(_title(name, 1.2))
                axis.set_xlim(-1.08, 1.08)
                axis.set_xticks([-1, 0, 1], labels=["−1", "0", "1"])
            figure.supxlabel(f"{SCALE}; hatched: lowers the output", fontsize=8)
            _headline(figure, self.headline)
            return figure


@dataclass(frozen=True, eq=False)
class SeriesSheet:
    """Lines over time, shaded by attribution, a row per method. `x [C, T]`, `maps [M, C, T]`."""

    headline: str
    channels: tuple[str, ...]
    methods: tuple[str, ...]
    x: Floats
    maps: Floats

    def draw(self) -> Figure:
        """One panel per method."""
        with style([self.headline, *self.methods, *self.channels]):
            figure, axes = grid.panels(len(self.methods), 1, (6.5, 0.75 + 0.25 * len(self.x)))
            for axis, name, values in zip(axes, self.methods, self.maps, strict=True):
                _shaded(axis, self.x, values / grid.bound(values))
                axis.set_ylabel(_title(name, 0.9), rotation=0, ha="right", va="center")
                axis.set_yticks(
                    range(len(self.x)),
                    labels=[shortened(c, 14) for c in self.channels] or [""] * len(self.x),
                )
                axis.tick_params(labelbottom=axis is axes[-1])
            axes[-1].set_xlabel("time step")
            _finish(figure, axes, self.headline)
            return figure


def _overlay(axis: Any, picture: Floats, shares: Floats) -> None:
    grey = picture if picture.ndim == 2 else picture.mean(2)
    # From -1, so that the picture is light below its map.
    axis.imshow(grey, cmap="gray", vmin=-1.0, vmax=1.0)
    axis.imshow(shares, cmap=SIGNED, vmin=-1, vmax=1, alpha=0.75)
    if max(shares.shape) <= _FINE:
        _outlined(axis, shares > 0.5, "solid")
        _outlined(axis, shares < -0.5, "dashed")


def _outlined(axis: Any, inside: npt.NDArray[np.bool_], dash: str) -> None:
    """The border between cells that are inside and cells that are not."""
    from matplotlib.collections import LineCollection

    padded = np.pad(inside, 1)
    down, across = padded[1:] != padded[:-1], padded[:, 1:] != padded[:, :-1]
    lines = [[(c - 1.5, r - 0.5), (c - 0.5, r - 0.5)] for r, c in np.argwhere(down)]
    lines += [[(c - 0.5, r - 1.5), (c - 0.5, r - 0.5)] for r, c in np.argwhere(across)]
    axis.add_collection(LineCollection(lines, colors="black", linewidths=0.9, linestyles=dash))


def labelled(units: Sequence[str], held: Sequence[str], most: int = 36) -> list[str]:
    """`name = value` of each unit; where that is too long, the name loses its middle."""
    values = [f" = {shortened(value, 14)}" if value else "" for value in held or [""] * len(units)]
    return [
        shortened(name, most - len(value)) + value
        for name, value in zip(units, values, strict=True)
    ]


def largest(units: Sequence[str], values: Floats, most: int) -> tuple[list[str], Floats]:
    """Labels and `[M, U']` values of the units that matter most on average, largest first."""
    # By shares, or the method with the largest numbers would choose alone.
    shares = np.abs(values) / np.array([[grid.bound(row)] for row in values])
    order = np.argsort(-shares.mean(0), kind="stable")
    labels = [units[i] for i in order[:most]]
    kept = values[:, order[:most]]
    if len(order) <= most:
        return labels, kept
    others = values[:, order[most:]].sum(1, keepdims=True)
    return [*labels, f"{len(order) - most} others"], np.concatenate([kept, others], axis=1)


def _title(name: str, width: float) -> str:
    return grid.wrapped(shortened(name, 40).replace("_", " "), width - 0.1, 9)


def _bar_panels(n: int, labels: Sequence[str]) -> tuple[Figure, list[Axes]]:
    """Axes for `n` methods that share the rows."""
    from matplotlib.figure import Figure

    n_across = min(n, _ACROSS)
    n_down = -(-n // n_across)
    width = grid.name_width(labels) + 1.2 * n_across + 0.3
    height = 0.6 + n_down * (0.65 + 0.19 * len(labels))
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(n_down, n_across, sharey=True, squeeze=False)
    for row in axes:
        row[0].set_yticks(range(len(labels)), labels=labels)
    axes[0, 0].set_ylim(len(labels) - 0.5, -0.5)
    flat = axes.flatten().tolist()
    for axis in flat[n:]:
        axis.remove()
    return figure, flat[:n]


def _signed_bars(axis: Any, shares: Floats) -> None:
    """Bars that lower the output are hatched, so that they can be told in grey."""
    for place, share in enumerate(shares):
        color, hatch = (POSITIVE, "") if share >= 0 else (NEGATIVE, "////")
        axis.barh(
            place, share, color=color, hatch=hatch, edgecolor="white", linewidth=0, height=0.75
        )
    axis.axvline(0, color="#444444", linewidth=0.6)
    plain(axis)
    axis.tick_params(axis="y", length=0)


def _shaded(axis: Any, x: Floats, shares: Floats) -> None:
    n_channels, n_steps = x.shape
    extent = (-0.5, n_steps - 0.5, n_channels - 0.5, -0.5)
    axis.imshow(shares, cmap=SIGNED, vmin=-1, vmax=1, aspect="auto", extent=extent, alpha=0.8)
    for channel, line in enumerate(x):
        span = max(float(np.ptp(line)), 1e-12)
        height = channel - 0.4 + 0.8 * (1 - (line - line.min()) / span)
        axis.plot(range(n_steps), height, color="black", linewidth=0.9)


def _finish(figure: Figure, axes: Sequence[Any], headline: str) -> None:
    """The colour bar for all, and what the sheet is about."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    colors = ScalarMappable(Normalize(-1, 1), SIGNED)
    bar = figure.colorbar(
        colors, ax=list(axes), orientation="horizontal", shrink=0.6, aspect=50, pad=0.02
    )
    bar.set_ticks([-1, 0, 1], labels=["−1, lowers it", "0", "1, raises it"])
    bar.set_label(SCALE)
    _headline(figure, headline)


def scale(figure: Figure, axis: Any) -> None:
    """A colour bar in an axis of its own."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    colors = ScalarMappable(Normalize(-1, 1), SIGNED)
    bar = figure.colorbar(colors, cax=axis, orientation="horizontal")
    bar.set_ticks([-1, 0, 1], labels=["−1, lowers it", "0", "1, raises it"])
    bar.set_label(SCALE, labelpad=1)


def _headline(figure: Figure, text: str) -> None:
    width = figure.get_figwidth()
    lines = grid.wrapped(drawable(text), width - 0.4, 9)
    figure.suptitle(lines, fontsize=9, weight="bold")
