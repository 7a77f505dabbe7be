"""How every picture looks: colours, letters of any script, and files that are the same every time.

Colours are told apart by people who are colour blind, and each comes with a marker and a dash, so
that a picture can be read in grey.
"""

from __future__ import annotations

import io
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

POSITIVE, NEGATIVE = "#b2182b", "#2166ac"
"""What raises the output, and what lowers it."""
SIGNED = "RdBu_r"
"""The colours from `NEGATIVE` over white to `POSITIVE`."""
BEST, TIED, OTHER, CONTROL = "#0b5fa5", "#5ba3d9", "#4d4d4d", "#8c8c8c"
GRID, UNKNOWN = "#e5e5e5", "#d9d9d9"

_COLORS = (
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#6a3d9a", "#8c564b",
    "#1b9e77", "#a6761d",
)  # fmt: skip
_MARKERS = "osD^vPX<>h"
_DASHES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (8, 2)))
_FONT = "DejaVu Sans"
_PREFERRED = ("Noto Sans", "Noto Sans CJK SC", "WenQuanYi Zen Hei", "Droid Sans Fallback")
FORMATS = ("pdf", "svg", "png")
DPI, SCREEN_DPI = 300, 150


@dataclass(frozen=True)
class Look:
    """How one explainer is drawn in every plot of a picture."""

    color: str
    marker: str
    dash: Any = "-"


def looks(names: Iterable[str], controls: Iterable[str] = ()) -> dict[str, Look]:
    """Name -> look: a colour, a marker and a dash each; controls are grey and dashed."""
    look_of = {}
    for i, name in enumerate(names):
        turn = i // len(_COLORS)
        # After a round of colours, each meets another marker.
        color, marker = _COLORS[i % len(_COLORS)], _MARKERS[(i + 3 * turn) % len(_MARKERS)]
        look_of[name] = Look(color, marker, _DASHES[turn % len(_DASHES)])
    for i, name in enumerate(controls):
        look_of[name] = Look(CONTROL, _MARKERS[-1 - i % len(_MARKERS)], _DASHES[1 + i % 4])
    return look_of


@contextmanager
def style(texts: Iterable[str] = ()) -> Iterator[None]:
    """Draw with these settings; fonts are found for the letters of `texts`.

    Matplotlib's settings are as before afterwards.
    """
    import matplotlib as mpl

    settings: Any = {
        "font.family": [_FONT, *fonts("".join(texts))],
        "font.size": 8,
        "axes.titlesize": 9,
        "axes.labelsize": 8,
        "axes.edgecolor": "#666666",
        "axes.linewidth": 0.6,
        "axes.axisbelow": True,
        "axes.unicode_minus": True,
        "xtick.labelsize": 7,
        "ytick.labelsize": 8,
        "legend.fontsize": 7.5,
        "legend.frameon": False,
        "text.parse_math": False,  # a dollar in the name of a column is a dollar
        "pdf.fonttype": 42,  # letters stay letters: journals refuse Type 3
        "svg.hashsalt": "xai-bench",
        "savefig.facecolor": "white",
    }
    with mpl.rc_context(settings):
        yield


def saved(figure: Figure, kind: str, dpi: int = DPI) -> bytes:
    """The bytes of a file. The same figure gives the same bytes: no date, no software version."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    dates: Mapping[str, Mapping[str, Any]] = {
        "pdf": {"CreationDate": None, "ModDate": None, "Producer": None, "Creator": None},
        "svg": {"Date": None, "Creator": None},
        "png": {"Software": None},
    }
    sink = io.BytesIO()
    figure.savefig(sink, format=kind, dpi=dpi, metadata=dates[kind])
    return sink.getvalue()


def png(figure: Figure) -> bytes:
    """A PNG for the screen, drawn with the usual settings; names may be in any script."""
    from xai_bench.results.drawing.glyphs import legible

    legible(figure)
    return saved(figure, "png", SCREEN_DPI)


def settled(figure: Figure) -> None:
    """Find the place of everything once, not anew for every file, which takes half of the time."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    engine = figure.get_layout_engine()
    if engine is not None:
        for axis in figure.axes:
            axis.apply_aspect()
        with suppress(ValueError):  # of a figure that is too small, as when matplotlib draws it
            engine.execute(figure)
    # With any engine, also with "none", a file would be drawn twice.
    figure.set_layout_engine(None)


def plain(axis: Axes, grid: str = "") -> None:
    """Take away what carries no information; `grid` is `x`, `y` or `both`."""
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
    if grid:
        which: Any = grid
        axis.grid(axis=which, color=GRID, linewidth=0.6)


def counts(axis: Axes) -> None:
    """A horizontal axis of numbers from 0 upwards, each a power of ten and written in full."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    axis.set_xscale("symlog", linthresh=1, linscale=0.4)
    low, high = axis.get_xlim()
    ticks = [0.0, *(10.0**power for power in range(10))]
    axis.xaxis.set_major_locator(FixedLocator([t for t in ticks if low <= t <= 1.01 * high]))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _full(value)))


def _full(value: float) -> str:
    """0, 10, 1k, 1M: as short as it can be."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.0f}{letter}"
    return f"{value:.0f}"


def shortened(name: str, most: int = 28) -> str:
    """A drawable name of at most `most` letters; what is long loses its middle."""
    text = drawable(" ".join(name.split()))
    if len(text) <= most:
        return text
    tail = (most - 1) // 3
    return f"{text[: most - 1 - tail]}…{text[-tail:]}"


def drawable(text: str) -> str:
    """The text with letters that no installed font has as their code, `U+4E2D`."""
    return "".join(
        letter if letter.isspace() or _font_of(letter) else f"U+{ord(letter):04X}"
        for letter in text
        if not unicodedata.category(letter).startswith("C") or letter.isspace()
    )


def fonts(text: str) -> list[str]:
    """The fonts beside the usual one that the letters of a text need."""
    families = [_font_of(letter) for letter in dict.fromkeys(text)]
    return [name for name in dict.fromkeys(families) if name and name != _FONT]


@lru_cache(maxsize=4096)
def _font_of(letter: str) -> str:
    """The family of an installed font that has the letter; empty where none has it."""
    from matplotlib import font_manager

    installed = {
        font.name: font.fname
        for font in font_manager.fontManager.ttflist
        if font.style == "normal"
        and font.weight == 400
        and font.stretch == "normal"
        # The last resort has a box for every letter there is.
        and "Last Resort" not in font.name
    }
    likely = [name for name in (_FONT, *_PREFERRED) if name in installed]
    for name in likely if ord(letter) < 128 else _ordered(tuple(installed), tuple(likely)):
        if font_manager.get_font(installed[name]).get_char_index(ord(letter)):
            return name
    return ""


def _ordered(installed: Sequence[str], likely: Sequence[str]) -> list[str]:
    """Likely families first, then others of a plain cut, then all else."""
    others = sorted(set(installed) - set(likely))
    return [*likely, *sorted(others, key=lambda name: ("Sans" not in name, name))]
