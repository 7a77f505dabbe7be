"""Where the letters of a figure lie: whether any is cut off or lies over another."""

from __future__ import annotations

from itertools import combinations

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

SLACK = 1.0
"""Points by which boxes may touch: a box has more room than its letters need."""


def faults(figure: Figure) -> list[str]:
    """One sentence per text that leaves the figure, and per two texts that overlap."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    slack = SLACK * figure.dpi / 72
    hidden = _not_drawn(figure)
    shown = [
        t
        for t in figure.findobj(Text)
        if t.get_visible() and t.get_text().strip() and id(t) not in hidden
    ]
    boxes = [(t.get_text(), t.get_window_extent(renderer)) for t in shown]
    page = figure.bbox
    cut = [f"cut off: {text!r}" for text, box in boxes if not _inside(box, page, slack)]
    both = [
        f"overlap: {a!r} and {b!r}"
        for (a, one), (b, other) in combinations(boxes, 2)
        if _overlap(one, other, slack)
    ]
    return cut + both


def _not_drawn(figure: Figure) -> set[int]:
    """Ids of the labels of ticks that lie outside of the limits: they are kept, but not drawn."""
    hidden: set[int] = set()
    for axes in figure.findobj(Axes):
        for axis in (axes.xaxis, axes.yaxis):
            drawn = axis._update_ticks() if axes.get_visible() and axes.axison else []
            for tick in (*axis.majorTicks, *axis.minorTicks):
                if tick not in drawn:
                    hidden |= {id(tick.label1), id(tick.label2)}
    return hidden


def _inside(box: Bbox, page: Bbox, slack: float) -> bool:
    return bool(
        box.x0 >= page.x0 - slack
        and box.y0 >= page.y0 - slack
        and box.x1 <= page.x1 + slack
        and box.y1 <= page.y1 + slack
    )


def _overlap(one: Bbox, other: Bbox, slack: float) -> bool:
    across = min(one.x1, other.x1) - max(one.x0, other.x0)
    down = min(one.y1, other.y1) - max(one.y0, other.y0)
    return bool(across > slack and down > slack)
