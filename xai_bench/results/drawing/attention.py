"""What a transformer attends to: a matrix per layer and head, and all layers in one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from xai_bench.results.drawing import grid
from xai_bench.results.drawing.style import drawable, shortened, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Floats = npt.NDArray[np.float64]

_COLORS = "cividis"
"""From dark to light in the same order for everybody, and in grey."""
_TILE = 0.62


@dataclass(frozen=True, eq=False)
class AttentionSheet:
    """`weights [L, H, T, T]` as a matrix for each layer (downwards) and head (to the right).

    Rows of a matrix are the places that gather, columns what they gather from; each matrix has its
    own scale, from 0 to its largest weight.
    """

    headline: str
    weights: Floats

    def draw(self) -> Figure:
        """One panel per layer and head."""
        n_layers, n_heads = self.weights.shape[:2]
        with style([self.headline]):
            from matplotlib.figure import Figure

            size = (max(_TILE * n_heads, 4.0) + 0.9, _TILE * n_layers + 1.1)
            figure = Figure(figsize=size, layout="constrained")
            axis: Any = figure.subplots()
            axis.imshow(_tiled(self.weights), cmap=_COLORS, vmin=0, vmax=1, aspect="auto")
            step = self.weights.shape[2] + 1
            axis.set_xticks(*_middles(n_heads, step))
            axis.set_yticks(*_middles(n_layers, step))
            axis.set_xlabel("head")
            axis.set_ylabel("layer")
            axis.tick_params(length=0)
            for side in axis.spines.values():
                side.set_visible(False)
            figure.suptitle(
                grid.wrapped(drawable(self.headline), size[0] - 0.4, 9), fontsize=9, weight="bold"
            )
            return figure


@dataclass(frozen=True, eq=False)
class RolloutSheet:
    """`rollout [T, T]`: what each place (a row) holds of each token (a column) at the end."""

    headline: str
    tokens: tuple[str, ...]
    rollout: Floats

    def draw(self) -> Figure:
        """One panel."""
        labels = [shortened(token, 14) or "·" for token in self.tokens]
        with style([self.headline, *labels]):
            from matplotlib.figure import Figure

            side = max(0.16 * len(labels), 2.5) + grid.name_width(labels) + 0.5
            figure = Figure(figsize=(side + 0.6, side + 0.5), layout="constrained")
            axis: Any = figure.subplots()
            drawn = axis.imshow(self.rollout, cmap=_COLORS, vmin=0)
            axis.set_xticks(range(len(labels)), labels=labels, rotation=90)
            axis.set_yticks(range(len(labels)), labels=labels)
            axis.set_xlabel("token")
            axis.set_ylabel("place in the last layer")
            figure.colorbar(drawn, ax=axis, shrink=0.6, label="share")
            figure.suptitle(
                grid.wrapped(drawable(self.headline), side, 9), fontsize=9, weight="bold"
            )
            return figure


def _tiled(weights: Floats) -> Floats:
    """`[L, H, T, T]` to one picture `[L * (T + 1), H * (T + 1)]`, NaN between the tiles."""
    n_layers, n_heads, width, _ = weights.shape
    largest = np.maximum(weights.max((2, 3), keepdims=True), 1e-12)
    padded = np.full((n_layers, n_heads, width + 1, width + 1), np.nan)
    padded[:, :, :width, :width] = weights / largest
    tiled = padded.transpose(0, 2, 1, 3)
    return np.asarray(tiled.reshape(n_layers * (width + 1), n_heads * (width + 1)))


def _middles(n: int, step: int) -> tuple[Sequence[float], Sequence[str]]:
    """Places and labels of at most 16 of `n` tiles."""
    shown = range(0, n, -(-n // 16))
    # The middle of a tile, of which the last place of a step is the gap.
    return [place * step + (step - 2) / 2 for place in shown], [str(place) for place in shown]
