"""Words and sentences of a text, by its characters, whatever tokenizer reads it later."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from itertools import pairwise

Span = tuple[int, int]
"""Characters of a text: the first, and the one after the last."""

_CLITIC = r"['’](?:s|re|ve|ll|d|m|t)\b"
_CUT_OFF = re.compile(_CLITIC, re.IGNORECASE)
"""What corpora cut off from the word before it: `it 's`."""

_PLAIN_WORD = re.compile(rf"{_CLITIC}|\w+(?:['’-]\w+)*|[^\w\s]", re.IGNORECASE)
_JOINERS = "'’-"
_EXTENDS = ("\u200c", "\u200d")
"""They join the letters beside them, as in Persian and in some Indian scripts."""

_END = re.compile(r"""[.!?…]+["')\]”’»]*(?=\s|$)|[。！？]+[”’」』）]*""")
"""Where a sentence ends."""

# Blocks of Unicode: extension A, the common ones, compatibility, then all extensions beyond.
_IDEOGRAPHS = (
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x2EBEF),
    (0x2F800, 0x2FA1F),
    (0x30000, 0x323AF),
)


def words(text: str) -> list[Span]:
    """Runs of letters, marks and digits with what joins them (`don't`, `well-known`); single
    punctuation marks and symbols; single ideographs.
    """
    if text.isascii():
        return [match.span() for match in _PLAIN_WORD.finditer(text)]
    return list(_joined(text, list(_runs(text))))


def sentences(text: str) -> list[Span]:
    """Up to a full stop, question or exclamation mark before a space; a Chinese one anywhere."""
    ends = [match.end() for match in _END.finditer(text)]
    spans = (_trimmed(text, span) for span in pairwise([0, *ends, len(text)]))
    return [span for span in spans if span[0] < span[1]]


def is_ideograph(character: str) -> bool:
    """Whether a character is one of the Chinese ones, each of which is a word."""
    code = ord(character)
    return any(low <= code <= high for low, high in _IDEOGRAPHS)


def _trimmed(text: str, span: Span) -> Span:
    start, end = span
    while start < end and text[start].isspace():
        start += 1
    while start < end and text[end - 1].isspace():
        end -= 1
    return start, end


def _kind(character: str) -> str:
    """`space`, `letter`, `mark` (belongs to what is before it), `ideograph` or `sign`."""
    if character.isspace():
        return "space"
    if character in _EXTENDS or unicodedata.category(character)[0] == "M":
        return "mark"
    if is_ideograph(character):
        return "ideograph"
    return "letter" if character.isalnum() or character == "_" else "sign"


def _runs(text: str) -> Iterator[tuple[str, Span]]:
    """Letters with their marks as runs; everything else alone, with its marks."""
    start, kind = 0, ""
    for place, character in enumerate(text):
        now = _kind(character)
        if kind and kind != "space" and (now == "mark" or now == kind == "letter"):
            continue
        if kind and kind != "space":
            yield kind, (start, place)
        start, kind = place, "letter" if now == "mark" else now
    if kind and kind != "space":
        yield kind, (start, len(text))


def _joined(text: str, runs: list[tuple[str, Span]]) -> Iterator[Span]:
    """Runs of letters on both sides of an apostrophe or hyphen become one word, and so do an
    apostrophe and what was cut off with it.
    """
    place = 0
    while place < len(runs):
        kind, (start, end) = runs[place]
        if _CUT_OFF.match(text, start) and place + 1 < len(runs):
            place += 1
            kind, end = "cut off", runs[place][1][1]
        while kind == "letter" and _continues(text, runs, place):
            place += 2
            end = runs[place][1][1]
        yield start, end
        place += 1


def _continues(text: str, runs: list[tuple[str, Span]], place: int) -> bool:
    if place + 2 >= len(runs):
        return False
    (_, (_, end)), (_, joiner), (kind, after) = runs[place : place + 3]
    touching = end == joiner[0] and joiner[1] == after[0]
    return touching and kind == "letter" and text[slice(*joiner)] in _JOINERS
