"""Pictures of matrices, with a number in every field and a colour bar; and critical differences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from xai_bench.results.drawing import grid
from xai_bench.results.drawing.style import SIGNED, UNKNOWN, drawable, shortened, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Floats = npt.NDArray[np.float64]

_FIELD = 0.36
_DARK = 0.6


@dataclass(frozen=True, eq=False)
class Matrix:
    """`values [rows, columns]`, NaN where unknown. Colours run from `low` to `high`."""

    title: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    values: Floats
    low: float
    high: float
    texts: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True, eq=False)
class MatrixFigure:
    """Matrices beside each other, each with its own colour bar.

    Signed ones, with as much below 0 as above, are red and blue; others run from light to dark.
    """

    title: str
    matrices: tuple[Matrix, ...]

    def draw(self) -> Figure:
        """The figure, drawn anew."""
        from matplotlib.figure import Figure

        words = [w for m in self.matrices for w in (m.title, *m.rows, *m.columns)]
        with style([self.title, *words]):
            sizes = [_size(matrix) for matrix in self.matrices]
            width = sum(size[0] for size in sizes)
            height = max(size[1] for size in sizes) + 0.5
            figure = Figure(figsize=(width, height), layout="constrained")
            parts = figure.subplots(
                1, len(sizes), squeeze=False, width_ratios=[size[0] for size in sizes]
            )
            for axis, matrix in zip(parts[0], self.matrices, strict=True):
                _matrix(figure, axis, matrix)
            figure.suptitle(grid.wrapped(drawable(self.title), width - 0.4, 9), fontsize=9)
            return figure


@dataclass(frozen=True)
class CriticalDifferenceFigure:
    """Mean ranks on a line; methods whose ranks cannot be told apart share a bar (Demšar 2006).

    Attributes:
        names, ranks: of the methods; 1 is the best rank.
        groups: names that are joined, for every maximal set of them.
        difference: how far mean ranks must be apart.
    """

    title: str
    names: tuple[str, ...]
    ranks: tuple[float, ...]
    groups: tuple[tuple[str, ...], ...]
    difference: float

    def draw(self) -> Figure:
        """The figure, drawn anew."""
        order = sorted(range(len(self.names)), key=lambda i: (self.ranks[i], self.names[i]))
        half = -(-len(order) // 2)
        labels = [shortened(self.names[i]) for i in order]
        with style([self.title, *labels]):
            names = grid.name_width(labels) + 0.45
            width = 3.4 + 2 * names
            height = 1.15 + 0.13 * len(self.groups) + 0.2 * half
            from matplotlib.figure import Figure

            figure = Figure(figsize=(width, height))
            axis = figure.add_axes((names / width, 0, 3.4 / width, 1))
            axis.set_axis_off()
            n = len(self.names)
            axis.set_xlim(1 - 0.02 * n, n + 0.02 * n)
            # The axes are as high as the figure, so that a step of 1 is an inch.
            axis.set_ylim(-height, 0)
            line = -0.85
            _ruler(axis, n, line)
            self._span(axis, line)
            below = line - 0.1 - 0.13 * len(self.groups)
            for place, (i, label) in enumerate(zip(order, labels, strict=True)):
                left = place < half
                # The outermost rank has the highest row on either side, so no leaders cross.
                row = place if left else len(order) - 1 - place
                _leader(axis, (self.ranks[i], line), below - 0.16 - 0.2 * row, label, left=left)
            self._groups(axis, line)
            text = grid.wrapped(drawable(self.title), width - 0.4, 9)
            figure.text(0.5, 1 - 0.08 / height, text, ha="center", va="top", fontsize=9)
            return figure

    def _span(self, axis: Axes, line: float) -> None:
        """The critical difference, as a bar above the ruler."""
        end = min(1 + self.difference, len(self.names))
        axis.plot([1, end], [line + 0.28] * 2, color="black", linewidth=1.2)
        for x in (1, end):
            axis.plot([x, x], [line + 0.24, line + 0.32], color="black", linewidth=1.2)
        text = f"critical difference {self.difference:.2f}"
        axis.text(1, line + 0.36, text, ha="left", va="bottom", fontsize=7)

    def _groups(self, axis: Axes, line: float) -> None:
        rank = dict(zip(self.names, self.ranks, strict=True))
        for place, group in enumerate(self.groups):
            ends = [min(rank[n] for n in group) - 0.03, max(rank[n] for n in group) + 0.03]
            y = line - 0.12 - 0.13 * place
            axis.plot(ends, [y, y], color="#333333", linewidth=3.2, solid_capstyle="butt")


def _size(matrix: Matrix) -> tuple[float, float]:
    widest = max((len(t) for row in _texts(matrix) for t in row), default=4)
    field = max(_FIELD, grid.LETTER * 0.85 * widest + 0.08)
    width = grid.name_width([shortened(n) for n in matrix.rows]) + field * len(matrix.columns) + 0.9
    height = grid.name_width([shortened(n) for n in matrix.columns]) + 0.24 * len(matrix.rows) + 0.4
    return max(width, grid.LETTER * len(matrix.title) + 0.2), height


def _texts(matrix: Matrix) -> Sequence[Sequence[str]]:
    return matrix.texts or tuple(
        tuple("" if math.isnan(v) else f"{v:.2f}".replace("-", "−") for v in row)
        for row in matrix.values
    )


def _matrix(figure: Figure, axis: Axes, matrix: Matrix) -> None:
    signed = matrix.low == -matrix.high
    colors = SIGNED if signed else "Blues"
    # What is NaN is not painted, so the ground shows through.
    axis.set_facecolor(UNKNOWN)
    image = axis.imshow(
        matrix.values, cmap=colors, vmin=matrix.low, vmax=matrix.high, aspect="auto"
    )
    for i, row in enumerate(_texts(matrix)):
        for j, text in enumerate(row):
            # The least span keeps a matrix of equal values from a division by zero.
            share = (matrix.values[i, j] - matrix.low) / max(matrix.high - matrix.low, 1e-12)
            # Signed colours are dark at both ends, others at the upper end only.
            dark = abs(2 * share - 1) > _DARK + 0.1 if signed else share > _DARK
            ink = "white" if dark else "black"
            axis.text(j, i, text, ha="center", va="center", fontsize=6.5, color=ink)
    names: Any = [shortened(name) for name in matrix.columns]
    axis.set_xticks(range(len(names)), labels=names, rotation=90)
    axis.set_yticks(range(len(matrix.rows)), labels=[shortened(name) for name in matrix.rows])
    axis.tick_params(length=0)
    axis.set_title(drawable(matrix.title), fontsize=8)
    bar = figure.colorbar(image, ax=axis, aspect=30, pad=0.02, fraction=0.06)
    bar.ax.tick_params(labelsize=6.5)
    bar.locator = _few()
    bar.update_ticks()


def _few() -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(5)


def _ruler(axis: Axes, n: int, line: float) -> None:
    axis.plot([1, n], [line, line], color="black", linewidth=1.0)
    for rank in range(1, n + 1):
        axis.plot([rank, rank], [line, line + 0.06], color="black", linewidth=0.8)
        axis.text(rank, line + 0.08, str(rank), ha="center", va="bottom", fontsize=7)


def _leader(axis: Axes, start: tuple[float, float], y: float, label: str, *, left: bool) -> None:
    """From a rank down and out to the name, with the rank beside it."""
    low, high = axis.get_xlim()
    side = low if left else high
    rank, line = start
    axis.plot([rank, rank, side], [line, y, y], color="#555555", linewidth=0.7, clip_on=False)
    text = f"{label}  {rank:.2f}" if left else f"{rank:.2f}  {label}"
    offset = (-3, 0) if left else (3, 0)
    axis.annotate(
        text, (side, y), offset, textcoords="offset points", va="center",
        ha="right" if left else "left", annotation_clip=False,
    )  # fmt: skip
