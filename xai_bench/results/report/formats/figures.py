"""Pictures of whole tables."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from xai_bench.results.report.formats.glyphs import legible
from xai_bench.results.report.summary import Block, Column, Number
from xai_bench.results.report.table import header

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDE = 4
_NAMES = 1.9
_BEST, _TIED, _OTHER, _CONTROL = "#0b5fa5", "#6baed6", "#4d4d4d", "#b0b0b0"


def dots(block: Block) -> bytes:
    """A PNG with one small plot per metric: every explainer's mean and its 95 % interval."""
    from matplotlib.figure import Figure

    columns = block.scored
    n_across = min(len(columns), _WIDE)
    n_down = -(-len(columns) // _WIDE)
    per_plot = 0.3 + 0.2 * len(block.explainers)
    height = n_down * (per_plot + 0.7)
    figure = Figure(figsize=(_NAMES + 2.4 * n_across, height))
    left = _NAMES / (_NAMES + 2.4 * n_across)
    figure.subplots_adjust(left, 0.4 / height, 0.99, 1 - 0.3 / height, 0.12, 0.9 / per_plot)
    axes = figure.subplots(n_down, n_across, sharey=True, squeeze=False).flatten()
    for column, axis in zip(columns, axes, strict=False):
        _plot(axis, block, column)
    for axis in axes[len(columns) :]:
        axis.set_axis_off()
    return png(figure)


def heat(names: Sequence[str], matrices: Mapping[str, Tensor]) -> bytes:
    """A PNG with the `[E, E]` matrices side by side, -1 .. 1 in colour; grey where undefined."""
    from matplotlib.figure import Figure

    side = 0.32 * len(names) + 1
    figure = Figure(figsize=(side * len(matrices) + 2, side + 1.6), layout="constrained")
    axes = figure.subplots(1, len(matrices), sharey=True, squeeze=False)[0]
    for axis, (title, matrix) in zip(axes, matrices.items(), strict=True):
        axis.set_facecolor("#dddddd")
        axis.imshow(matrix.numpy(), cmap="RdBu_r", vmin=-1, vmax=1)
        axis.set_xticks(range(len(names)), labels=_short(names), rotation=90, fontsize=7)
        axis.set_yticks(range(len(names)), labels=_short(names), fontsize=7)
        axis.set_title(title, fontsize=9)
    return png(figure)


def png(figure: Figure) -> bytes:
    """The figure as a PNG without date and version, so that the same figure is the same bytes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    legible(figure)
    sink = io.BytesIO()
    figure.savefig(sink, format="png", dpi=110, metadata={"Software": None})
    return sink.getvalue()


def _plot(axis: Axes, block: Block, column: Column) -> None:
    """Methods from the top, controls below a line; no dot where there is no score."""
    numbers = block.of(column)
    for place, number in enumerate(numbers):
        if number.status == "ok":
            color = _color(number, place >= len(numbers) - block.n_controls)
            span = [bound(number, "low"), bound(number, "high")]
            axis.plot(span, [place, place], color=color, linewidth=1.5)
            axis.plot([number.mean], [place], "o", color=color, markersize=4)
    axis.set_title(header(column), fontsize=9)
    axis.set_yticks(range(len(numbers)), labels=_short(block.explainers), fontsize=8)
    axis.set_ylim(len(numbers) - 0.5, -0.5)
    axis.tick_params(axis="x", labelsize=7)
    axis.grid(axis="x", color="#e5e5e5", linewidth=0.6)
    axis.set_axisbelow(True)
    if 0 < block.n_controls < len(numbers):
        axis.axhline(len(numbers) - block.n_controls - 0.5, color="#b0b0b0", linewidth=0.6)


def _color(number: Number, is_control: bool) -> str:
    if is_control:
        return _CONTROL
    return _BEST if number.best else _TIED if number.tied else _OTHER


def bound(number: Number, side: str) -> float:
    """The `low` or `high` end that is drawn: the mean where a single sample has no bounds."""
    end = float(getattr(number, side))
    return end if math.isfinite(end) else number.mean


def _short(names: Sequence[str]) -> list[str]:
    return [name if len(name) <= 24 else name[:23] + "…" for name in names]
