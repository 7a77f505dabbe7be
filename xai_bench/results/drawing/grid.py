"""Figures that are as large as what they hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LETTER = 0.064
"""Inches that a letter of 8 points is wide, at most, on average over a name."""


def panels(
    n: int, across: int, size: tuple[float, float], margins: float = 0.0
) -> tuple[Figure, list[Axes]]:
    """A figure and `n` axes in rows of at most `across`, `size` inches each."""
    from matplotlib.figure import Figure

    n_across = max(min(n, across), 1)
    n_down = -(-n // n_across)
    width, height = size[0] * n_across + margins, size[1] * n_down + 0.5
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(n_down, n_across, squeeze=False).flatten().tolist()
    for axis in axes[n:]:
        axis.remove()
    return figure, axes[:n]


def rows(n: int, width: float, each: float = 0.22, more: float = 0.8) -> tuple[Figure, Axes]:
    """A figure with one axis, high enough for `n` lines of text."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, more + each * max(n, 1)), layout="constrained")
    return figure, figure.subplots()


def name_width(names: Sequence[str]) -> float:
    """Inches for the longest of some names."""
    return LETTER * max((len(name) for name in names), default=0)


def wrapped(text: str, width: float, size: float = 8) -> str:
    """Lines that are at most `width` inches wide in a font of `size` points."""
    import textwrap

    most = max(int(width / (LETTER * size / 8)), 12)
    return "\n".join(textwrap.wrap(text, most)) or text


def bound(values: Any) -> float:
    """The largest absolute value that is finite; never 0, so that it can be divided by."""
    finite = np.abs(np.asarray(values, dtype=np.float64))
    finite = finite[np.isfinite(finite)]
    return max(float(finite.max(initial=0.0)), 1e-12)
