"""Tables cut into floats that fit a page: upright where they are narrow, turned, or in parts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from xai_bench.results.report.formats.latex import text
from xai_bench.results.report.table import Entry, Head, Panel, Table

UPRIGHT, TURNED = 440.0, 670.0
"""Points that a table may be wide: A4 with margins of 2.5 cm, and a little to spare."""
TALL = {UPRIGHT: 560.0, TURNED: 330.0}
"""Points that the tables of one float may be high, the caption not counted."""
LINE, HEAD = 9.8, 42.0
GAP = 12.0
NAME = 190.0
"""Points that a name may be wide before it is broken into lines."""


@dataclass(frozen=True)
class Float:
    """Panels that share a float.

    Attributes:
        turned: printed sideways.
        part: which of several floats of one table this is, from 0.
    """

    table: Table
    panels: tuple[Panel, ...]
    turned: bool
    part: int


def floats(table: Table) -> Iterator[Float]:
    """Every panel of a table, in floats that fit."""
    wanted = [_cut(panel) for panel in table.panels]
    # The panels of a table share its page, so one that needs it turns all of them.
    turned = any(needs_turning for needs_turning, _ in wanted)
    limit = TURNED if turned else UPRIGHT
    pieces = [piece for _, panels in wanted for panel in panels for piece in _short(panel, limit)]
    for part, run in enumerate(_stacked(pieces, TALL[limit])):
        yield Float(table, tuple(run), turned, part)


def panel_width(panel: Panel) -> float:
    """Points, at most."""
    first = max([_name_width(name) for name, _ in panel.rows], default=0.0)
    return first + sum(_column_width(panel, place) for place in range(len(panel.heads)))


def lines_of(head: str) -> list[str]:
    """The lines of a heading: broken after underscores so that it is no wider than its numbers."""
    lines: list[str] = []
    for piece in head.replace("_", "_ ").split(" "):
        if lines and (text.width(lines[-1] + piece) < 40 or not piece.strip("↑↓")):
            joined = "" if lines[-1].endswith("_") else " "
            lines[-1] = f"{lines[-1]}{joined}{piece}"
        else:
            lines.append(piece)
    return lines


def _cut(panel: Panel) -> tuple[bool, list[Panel]]:
    """Whether to turn the page, and the panels: one where it fits either way, else upright ones."""
    wide = panel_width(panel)
    if wide <= UPRIGHT:
        return False, [panel]
    if wide <= TURNED:
        return True, [panel]
    return False, list(_narrow(panel))


def _narrow(panel: Panel) -> Iterator[Panel]:
    """Whole categories side by side while they fit; one that does not is cut."""
    part: list[int] = []
    for _, run in groupby(range(len(panel.heads)), key=lambda i: panel.heads[i].category):
        category = list(run)
        if part and panel_width(_columns(panel, [*part, *category])) > UPRIGHT:
            yield _columns(panel, part)
            part = []
        for place in category:
            if part and panel_width(_columns(panel, [*part, place])) > UPRIGHT:
                yield _columns(panel, part)
                part = []
            part.append(place)
    if part:
        yield _columns(panel, part)


def _columns(panel: Panel, places: Sequence[int]) -> Panel:
    heads: tuple[Head, ...] = tuple(panel.heads[i] for i in places)
    rows = tuple((name, tuple(entries[i] for i in places)) for name, entries in panel.rows)
    return replace(panel, heads=heads, rows=rows)


def _short(panel: Panel, limit: float) -> Iterator[Panel]:
    """The rows of a panel in runs that fit a page."""
    most = max(int((TALL[limit] - HEAD) / LINE), 1)
    n_methods = len(panel.rows) - panel.n_controls
    for start in range(0, max(len(panel.rows), 1), most):
        rows = panel.rows[start : start + most]
        # Controls are the last rows, so those of this run that are no methods.
        n_controls = len(rows) - max(min(n_methods - start, len(rows)), 0)
        yield replace(panel, rows=rows, n_controls=n_controls)


def _stacked(panels: Sequence[Panel], limit: float) -> Iterator[list[Panel]]:
    """Panels below each other while they fit."""
    part: list[Panel] = []
    used = 0.0
    for panel in panels:
        high = HEAD + LINE * len(panel.rows) + GAP
        if part and used + high > limit:
            yield part
            part, used = [], 0.0
        part.append(panel)
        used += high
    if part:
        yield part


def _name_width(name: str) -> float:
    return min(text.width(name), NAME) + 12


def _column_width(panel: Panel, place: int) -> float:
    head = max(text.width(line) for line in lines_of(panel.heads[place].text))
    entries = [_entry_width(entries[place]) for _, entries in panel.rows]
    return max([head, *entries]) + 12


def _entry_width(entry: Entry) -> float:
    notes = text.width("".join(f" [{note}]" for note in entry.notes))
    return text.width(entry.text, bold=entry.best) + notes + (5 if entry.tied else 0)
