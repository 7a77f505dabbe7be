"""Coloured tokens as HTML: escaped text that can be searched, in either writing direction."""

from __future__ import annotations

import math
from collections.abc import Iterator
from html import escape

from xai_bench.results.drawing import grid
from xai_bench.results.drawing.sheets import SCALE
from xai_bench.results.drawing.style import NEGATIVE, POSITIVE
from xai_bench.results.drawing.tokens import TokenLine, TokenSheet, right_to_left

LEGEND = (
    f"Colours are the {SCALE}: red raises the output; blue and underlined lowers it. Point at a "
    "word for its number."
)
_FAINT, _DARK = 0.1, 0.7
_STYLE = (
    "body{font-family:sans-serif;margin:1.5em;line-height:1.8}"
    "dt{font-weight:bold}dd{margin:0 0 .6em}span{padding:.1em .2em;border-radius:.2em}"
)


def document(sheets: list[TokenSheet]) -> str:
    """A page of its own, which loads nothing."""
    body = "\n".join(fragment(sheet) for sheet in sheets)
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        f"<title>Coloured tokens</title><style>{_STYLE}</style></head>\n"
        f"<body>\n{body}\n<p>{LEGEND}</p>\n</body></html>\n"
    )


def fragment(sheet: TokenSheet) -> str:
    """The sheet as part of a page: a list of methods and what they say of each token."""
    lines = "\n".join(
        f"<dt>{escape(line.title)}</dt>\n<dd{_direction(line)}>{' '.join(_tokens(line))}</dd>"
        for line in sheet.lines
    )
    head = f"<p><strong>{escape(sheet.headline)}</strong></p>" if sheet.headline else ""
    return f'{head}\n<dl class="tokens">\n{lines}\n</dl>'


def _direction(line: TokenLine) -> str:
    return ' dir="rtl"' if right_to_left(line.tokens) else ""


def _tokens(line: TokenLine) -> Iterator[str]:
    bound = grid.bound(line.values)
    for token, value in zip(line.tokens, line.values.tolist(), strict=True):
        share = value / bound if math.isfinite(value) else 0.0
        rule = f"background:{_color(share)};color:{'#fff' if abs(share) > _DARK else '#000'}"
        if share < -_FAINT:
            rule += ";text-decoration:underline"
        text = escape(token) or "&nbsp;"
        yield f'<span style="{rule}" title="{escape(f"{value:.4g}")}">{text}</span>'


def _color(share: float) -> str:
    """From white at 0 to the full colour at 1 and at -1."""
    full = POSITIVE if share >= 0 else NEGATIVE
    parts = (int(full[place : place + 2], 16) for place in (1, 3, 5))
    return "#" + "".join(f"{round(255 + (part - 255) * abs(share)):02x}" for part in parts)
