"""Critical-difference diagrams (Demšar 2006): mean ranks, and bars over what stays together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from xai_bench.results.statistics.significance import Friedman

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_ROW, _BAR, _LETTER, _WIDE = 0.22, 0.13, 0.075, 3.2
"""Inches of a line of text, of a bar, of a letter, and of the line of ranks."""
_SCALE = 0.7
"""Inches from the top to the line of ranks."""
_BLUE, _GREY = "#0b5fa5", "#4d4d4d"


@dataclass(frozen=True, eq=False)
class _Canvas:
    """An axis in inches, y downwards; `side` is the room for names on either side."""

    axis: Axes
    friedman: Friedman
    side: float

    @property
    def n(self) -> int:
        return len(self.friedman.ranks)

    def x(self, rank: float) -> float:
        return self.side + _WIDE * (rank - 1) / max(self.n - 1, 1)

    def line(self, xs: Sequence[float], ys: Sequence[float], *, bar: bool = False) -> None:
        color, width = (_BLUE, 3.0) if bar else (_GREY, 0.8)
        self.axis.plot(xs, ys, color=color, linewidth=width, solid_capstyle="butt")

    def text(self, x: float, y: float, text: str, side: str) -> None:
        self.axis.text(x, y, text, ha=side, va="center", fontsize=8)


def critical_differences(friedman: Friedman, names: Sequence[str]) -> Figure:
    """A figure with the best rank on the left; `names` are those of the methods, in order."""
    from matplotlib.figure import Figure

    groups = friedman.groups()
    side = 0.4 + _LETTER * max(len(f"{name}  0.00") for name in names)
    first = _SCALE + 0.2 + _BAR * len(groups)
    width, height = 2 * side + _WIDE, first + _ROW * ((len(names) + 1) // 2) + 0.1
    figure = Figure(figsize=(width, height))
    axis = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(height, 0))
    axis.set_axis_off()
    canvas = _Canvas(axis, friedman, side)
    _ranks(canvas)
    for level, group in enumerate(groups):
        ends = [canvas.x(friedman.ranks[m]) + d for m, d in ((group[0], -0.04), (group[-1], 0.04))]
        canvas.line(ends, [_SCALE + _BAR * (level + 1)] * 2, bar=True)
    _methods(canvas, names, first)
    return figure


def _ranks(canvas: _Canvas) -> None:
    """The line of ranks, and the critical difference above it."""
    canvas.line([canvas.x(1), canvas.x(canvas.n)], [_SCALE] * 2)
    for rank in range(1, canvas.n + 1):
        canvas.line([canvas.x(rank)] * 2, [_SCALE - 0.05, _SCALE])
        canvas.text(canvas.x(rank), _SCALE - 0.14, str(rank), "center")
    friedman = canvas.friedman
    longest = min(friedman.critical_difference, canvas.n - 1.0)
    canvas.line([canvas.x(1), canvas.x(1 + longest)], [0.36] * 2, bar=True)
    text = (
        f"critical difference {friedman.critical_difference:.2f}, {friedman.n_data_sets} data sets"
    )
    canvas.text(canvas.x(1), 0.2, text, "left")


def _methods(canvas: _Canvas, names: Sequence[str], first: float) -> None:
    """The better half on the left from the top, the others on the right."""
    ranks = canvas.friedman.ranks
    order = sorted(range(canvas.n), key=lambda method: float(ranks[method]))
    half = (canvas.n + 1) // 2
    for position, method in enumerate(order):
        on_left = position < half
        y = first + _ROW * (position if on_left else canvas.n - 1 - position)
        x, edge = (
            canvas.x(ranks[method]),
            canvas.side - 0.3 if on_left else canvas.side + _WIDE + 0.3,
        )
        canvas.line([x, x, edge], [_SCALE, y, y])
        text = f"{names[method]}  {ranks[method]:.2f}"
        canvas.text(edge + (-0.05 if on_left else 0.05), y, text, "right" if on_left else "left")
