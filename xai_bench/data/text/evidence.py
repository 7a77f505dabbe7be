"""Where people saw the evidence, in the forms in which files say so."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from xai_bench.data.text.segmentation import Span

_WORD = re.compile(r"\S+")


def read_evidence(mark: Any, text: str, row: int) -> tuple[Span, ...] | None:
    """The marked characters: from a part of the text, `[start, end]` pairs, or 0 and 1 per word.

    None where the cell is empty. Raises ValueError for what does not fit the text.
    """
    # NaN is an empty cell of pandas.
    if mark is None or mark != mark:
        return None
    if isinstance(mark, str) and not mark.strip():
        return ()
    parsed = _parsed(mark) if isinstance(mark, str) else mark
    return _quoted(parsed, text, row) if isinstance(parsed, str) else _listed(parsed, text, row)


def of_words(flags: Sequence[int], text: str) -> tuple[Span, ...]:
    """The characters of the words between spaces that are flagged."""
    spans = [match.span() for match in _WORD.finditer(text)]
    return tuple(span for span, flag in zip(spans, flags, strict=True) if flag)


def of_token_ranges(ranges: Sequence[tuple[int, int]], text: str) -> tuple[Span, ...]:
    """The characters from the first to the last word between spaces of each range, end excluded."""
    spans = [match.span() for match in _WORD.finditer(text)]
    return tuple((spans[start][0], spans[end - 1][1]) for start, end in ranges if end > start)


def _parsed(mark: str) -> Any:
    """A list that is written out; anything else as it stands."""
    if not mark.lstrip().startswith("["):
        return mark
    try:
        return json.loads(mark)
    except json.JSONDecodeError:
        return mark


def _quoted(mark: str, text: str, row: int) -> tuple[Span, ...]:
    start = text.find(mark.strip())
    if start < 0:
        raise ValueError(
            f"row {row}: its rationale is no part of its text; expected the very words, "
            "[start, end] characters, or 0 and 1 for each word"
        )
    return ((start, start + len(mark.strip())),)


def _listed(mark: Any, text: str, row: int) -> tuple[Span, ...]:
    if isinstance(mark, list | tuple) and all(_is_pair(pair) for pair in mark):
        spans = tuple((int(a), int(b)) for a, b in mark)
        if any(not 0 <= a <= b <= len(text) for a, b in spans):
            raise ValueError(
                f"row {row}: its rationale lies at characters {list(spans)}, but its text has "
                f"{len(text)}"
            )
        return spans
    n_words = len(_WORD.findall(text))
    if isinstance(mark, list | tuple) and len(mark) == n_words and set(mark) <= {0, 1}:
        return of_words(list(mark), text)
    raise ValueError(
        f"row {row}: its rationale is no list of [start, end] characters, nor one 0 or 1 for each "
        f"of its {n_words} words"
    )


def _is_pair(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) == 2
