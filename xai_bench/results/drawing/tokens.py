"""Coloured tokens, all methods below each other, in either writing direction."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from xai_bench.results.drawing import grid
from xai_bench.results.drawing.sheets import scale
from xai_bench.results.drawing.style import NEGATIVE, SIGNED, drawable, shortened, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Floats = npt.NDArray[np.float64]

_WIDTH, _MARGIN = 7.5, 0.15
_LINE, _GAP, _PAD = 0.25, 0.04, 0.05
_HEAD, _FOOT = 0.45, 0.6
_FAINT, _DARK = 0.1, 0.7


@dataclass(frozen=True, eq=False)
class TokenLine:
    """A text as one explainer sees it: `values [T]`, one per token; NaN is uncoloured."""

    title: str
    tokens: tuple[str, ...]
    values: Floats


@dataclass(frozen=True, eq=False)
class TokenSheet:
    """Signed scores of tokens as colours, each line divided by its largest absolute value.

    Red raises the output, blue lowers it; what lowers it is underlined, too.
    """

    headline: str
    lines: tuple[TokenLine, ...]

    @classmethod
    def of(
        cls, headline: str, tokens: Sequence[str], methods: Sequence[str], values: Floats
    ) -> TokenSheet:
        """One text as `M` methods see it; `values [M, T]`."""
        lines = [
            TokenLine(name, tuple(tokens), row) for name, row in zip(methods, values, strict=True)
        ]
        return cls(headline, tuple(lines))

    def draw(self) -> Figure:
        """One text below the other."""
        from matplotlib.figure import Figure

        letters = [text for line in self.lines for text in (line.title, *line.tokens)]
        with style([self.headline, *letters]):
            places: dict[tuple[str, ...], tuple[list[_Place], int]] = {}
            for line in self.lines:
                if line.tokens not in places:
                    places[line.tokens] = _places([shortened(t, 70) or " " for t in line.tokens])
            tall = [_LINE * (places[line.tokens][1] + 1) + 0.08 for line in self.lines]
            height = _HEAD + sum(tall) + _FOOT
            figure = Figure(figsize=(_WIDTH, height))
            top = height - _HEAD
            for line, block in zip(self.lines, tall, strict=True):
                _line(figure, line, places[line.tokens][0], top)
                top -= block
            scale(figure, figure.add_axes((0.2, 0.4 / height, 0.6, 0.08 / height)))
            text = grid.wrapped(drawable(self.headline), _WIDTH - 0.4, 9)
            figure.suptitle(text, fontsize=9, weight="bold", y=1 - 0.1 / height, va="top")
            return figure


def pieces(words: Sequence[str], values: Floats) -> tuple[tuple[str, ...], Floats]:
    """Units of several words, such as sentences, word by word: `[..., U]` to `[..., T]`."""
    parts = [word.split() or [""] for word in words]
    unit = [place for place, part in enumerate(parts) for _ in part]
    return tuple(word for part in parts for word in part), values[..., unit]


def _line(figure: Figure, line: TokenLine, places: Sequence[_Place], top: float) -> None:
    """The title, and the tokens below it, from `top` inches downwards."""
    _, height = figure.get_size_inches()
    title = shortened(line.title, 90).replace("_", " ")
    figure.text(_MARGIN / _WIDTH, (top - _LINE / 2) / height, title, va="center", weight="bold")
    for place, share in zip(places, line.values / grid.bound(line.values), strict=True):
        _token(figure, place, top - _LINE, float(share))


@dataclass(frozen=True)
class _Place:
    """A token, its line from 0, and where on it in inches."""

    token: str
    line: int
    left: float
    width: float


def right_to_left(tokens: Sequence[str]) -> bool:
    """Whether more of the letters are written from right to left than from left to right."""
    kinds = [unicodedata.bidirectional(letter) for token in tokens for letter in token]
    return sum(kind in ("R", "AL") for kind in kinds) > kinds.count("L")


def _places(tokens: Sequence[str]) -> tuple[list[_Place], int]:
    """Where each token goes, and the number of lines."""
    widths = [width + 2 * _PAD for width in _widths(tokens)]
    line, left, places = 0, _MARGIN, []
    for token, width in zip(tokens, widths, strict=True):
        if left + width > _WIDTH - _MARGIN and left > _MARGIN:
            line, left = line + 1, _MARGIN
        places.append(_Place(token, line, left, width))
        left += width + _GAP
    if right_to_left(tokens):
        # The lines are the same, filled from the right.
        places = [_Place(p.token, p.line, _WIDTH - p.left - p.width, p.width) for p in places]
    return places, line + 1


def _widths(tokens: Sequence[str]) -> list[float]:
    """Inches, as drawn."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(dpi=100)
    renderer: Any = FigureCanvasAgg(figure).get_renderer()  # type: ignore[no-untyped-call]
    width_of: dict[str, float] = {}
    for token in dict.fromkeys(tokens):
        text = figure.text(0, 0, token)
        width_of[token] = text.get_window_extent(renderer).width / figure.dpi
    return [width_of[token] for token in tokens]


def _token(figure: Figure, place: _Place, top: float, share: float) -> None:
    """One token on its colour, in a block of lines from `top` inches downwards."""
    from matplotlib import colormaps
    from matplotlib.lines import Line2D
    from matplotlib.patches import Rectangle

    _, height = figure.get_size_inches()
    share = share if np.isfinite(share) else 0.0
    x, width = place.left / _WIDTH, place.width / _WIDTH
    bottom = (top - (place.line + 1) * _LINE + 0.03) / height
    tall = (_LINE - 0.05) / height
    color: Any = colormaps[SIGNED](0.5 + share / 2)
    figure.add_artist(Rectangle((x, bottom), width, tall, facecolor=color, edgecolor="none"))
    ink = "white" if abs(share) > _DARK else "black"
    style: dict[str, Any] = {"ha": "center", "va": "center", "color": ink}
    figure.text(x + width / 2, bottom + tall * 0.52, place.token, style)
    if share < -_FAINT:
        line = Line2D((x, x + width), (bottom, bottom), color=NEGATIVE, linewidth=1.4)
        figure.add_artist(line)
