"""Names in any script in a picture: another font where the usual one lacks a sign, or its code."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.text import Text

PREFERRED = (
    "Noto Sans CJK JP", "Noto Sans CJK SC", "Source Han Sans", "Hiragino Sans", "Yu Gothic",
    "PingFang SC", "Microsoft YaHei", "Malgun Gothic", "WenQuanYi Zen Hei", "Arial Unicode MS",
    "Noto Sans", "Segoe UI", "Arial",
)  # fmt: skip
"""Fonts that have many signs and go well with the others; the rest is asked in order of name."""
_USUAL = "DejaVu Sans"


def legible(figure: Figure) -> None:
    r"""Give the texts of a figure fonts that have their signs, and take `$` for a dollar.

    A sign that no font on this machine has is written as its code, such as `\u5e74`.
    """
    texts = _texts(figure)
    # ASCII is in every font.
    signs = {sign for text in texts for sign in text.get_text() if ord(sign) > 0x7E}
    families, absent = _families(signs) if signs else ([], set())
    for text in texts:
        # Labels of logarithmic axes, which matplotlib makes, are mathematics.
        if "$" in text.get_text() and "\\math" not in text.get_text():
            text.set_parse_math(False)
        if families:
            text.set_fontfamily([_USUAL, *families])
    if absent:
        _spell(figure, texts, absent)


def spelled(text: str, absent: Iterable[str]) -> str:
    """The text with the signs that are absent as their codes."""
    codes = {sign: sign.encode("ascii", "backslashreplace").decode() for sign in absent}
    return "".join(codes.get(sign, sign) for sign in text)


def _texts(figure: Figure) -> list[Text]:
    """All texts; those of ticks are set when they are first asked for."""
    from matplotlib.text import Text

    for axes in figure.axes:
        axes.get_xticklabels()
        axes.get_yticklabels()
    return [text for text in figure.findobj(Text) if isinstance(text, Text)]


def _families(signs: set[str]) -> tuple[Sequence[str], set[str]]:
    """Fonts that between them have the signs the usual one lacks, and the signs that none has."""
    from matplotlib.font_manager import fontManager

    # The pictures in fonts of emoji are nothing that matplotlib can draw.
    entries = {
        entry.name: entry.fname for entry in fontManager.ttflist if "Emoji" not in entry.name
    }
    absent = _without(entries.get(_USUAL), signs)
    chosen = []
    for name in (*(name for name in PREFERRED if name in entries), *sorted(entries)):
        if not absent:
            break
        left = _without(entries[name], absent)
        if left != absent:
            chosen.append(name)
            absent = left
    return chosen, absent


def _without(path: str | None, signs: set[str]) -> set[str]:
    """The signs that the font of a file lacks: all, where it cannot be read."""
    from matplotlib.font_manager import get_font

    if path is None:
        return signs
    try:
        font = get_font(path)
    except (OSError, RuntimeError):
        return signs
    return {sign for sign in signs if not font.get_char_index(ord(sign))}


def _spell(figure: Figure, texts: Sequence[Text], absent: set[str]) -> None:
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            labels = [label.get_text() for label in axis.get_ticklabels()]
            if absent & set("".join(labels)):
                axis.set_ticks(axis.get_ticklocs(), [spelled(label, absent) for label in labels])
    for text in texts:
        text.set_text(spelled(text.get_text(), absent))
