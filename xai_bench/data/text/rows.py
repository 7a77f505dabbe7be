"""Encoded texts of one width, with the unit of every token."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from xai_bench.core.tokens import DELETED, widths
from xai_bench.data.text.segmentation import Span, sentences, words
from xai_bench.data.text.tokenizers import Encoded, Vocabulary

_LOG = logging.getLogger(__name__)

UnitKind = Literal["words", "tokens", "sentences"]


@dataclass(frozen=True, slots=True)
class Reading:
    """How texts become rows: what a unit is, the longest row, and the text around each text."""

    units: UnitKind = "words"
    max_tokens: int = 64
    template: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Encoded texts of one width.

    Attributes:
        texts: `N` strings; offsets: where the user's own text begins in each.
        ids: `[N, T]` long, `DELETED` beyond the end; units: `[N, T]`, -1 there and at what is never
            removed; spans: `[N, T, 2]`, the characters of each token; lengths: `[N]`.
    """

    texts: tuple[str, ...]
    offsets: tuple[int, ...]
    ids: Tensor
    units: Tensor
    spans: Tensor
    lengths: Tensor

    def take(self, numbers: Tensor) -> Rows:
        """Those of `numbers` (long `[M]`)."""
        listed = numbers.tolist()
        return Rows(
            tuple(self.texts[n] for n in listed),
            tuple(self.offsets[n] for n in listed),
            *(values[numbers] for values in (self.ids, self.units, self.spans, self.lengths)),
        )

    def marked(self, evidence: Sequence[Sequence[Span]]) -> Tensor:
        """`[N, T]` bool: the tokens of units of which some character lies in a marked span."""
        marked = torch.zeros(self.ids.shape, dtype=torch.bool)
        for row, (spans, offset) in enumerate(zip(evidence, self.offsets, strict=True)):
            for start, end in spans:
                begins, ends = self.spans[row].unbind(1)
                marked[row] |= (begins < end + offset) & (ends > start + offset) & (begins >= 0)
        marked &= self.units >= 0
        return _whole_units(marked, self.units)


def _whole_units(marked: Tensor, units: Tensor) -> Tensor:
    """`[N, T]` bool: with all tokens of a unit where one of them is marked."""
    by_unit = torch.zeros(len(units), units.shape[1] + 1, dtype=torch.bool)
    place = torch.where(units < 0, units.shape[1], units)
    by_unit.scatter_(1, torch.where(marked, place, units.shape[1]), value=True)
    # Where all went that is no unit, or not marked.
    by_unit[:, -1] = False
    return by_unit.gather(1, place)


@dataclass(frozen=True, slots=True)
class Ends:
    """Special ids around every sequence, and how many tokens fit between them."""

    start: tuple[int, ...] = ()
    end: tuple[int, ...] = ()
    room: int = 1


def ends_of(vocabulary: Vocabulary, reading: Reading, *, prompt: bool = False) -> Ends:
    """Those of a vocabulary. A prompt has a start and no end."""
    prompt = prompt or bool(reading.template)
    start = vocabulary.prompt_start if prompt else vocabulary.start
    end = () if prompt else vocabulary.end
    room = reading.max_tokens - len(start) - len(end)
    if room < 1:
        raise ValueError(
            f"data.max_tokens={reading.max_tokens} leaves no room for words beside "
            f"{len(start) + len(end)} special tokens; give at least {len(start) + len(end) + 1}"
        )
    return Ends(start, end, room)


def framed(text: str, template: str) -> tuple[str, Span]:
    """The text in its template, and which of its characters are the user's."""
    if not template:
        return text, (0, len(text))
    before, placeholder, after = template.partition("{text}")
    if not placeholder:
        raise ValueError(f"data.template has no {{text}} in it; found {template!r}")
    return before + text + after, (len(before), len(before) + len(text))


def rows_of(
    texts: Sequence[str],
    inside: Sequence[Span],
    encoded: Sequence[Encoded],
    ends: Ends,
    reading: Reading,
) -> Rows:
    """All texts at the width of the longest. What is too long is cut, and told."""
    n_long = sum(len(text.ids) > ends.room for text in encoded)
    if n_long and reading.template:
        raise ValueError(
            f"{n_long} of {len(texts)} texts do not fit into data.max_tokens={reading.max_tokens} "
            "with their template; give more, for cutting would take the end of the question"
        )
    if n_long:
        _LOG.warning(
            "%d of %d texts are longer than %d tokens and were cut; set data.max_tokens",
            n_long,
            len(texts),
            reading.max_tokens,
        )
    around = len(ends.start) + len(ends.end)
    lengths = [min(len(text.ids), ends.room) + around for text in encoded]
    width = int(widths(torch.tensor([max(lengths)])))
    ids = np.full((len(texts), width), DELETED)
    units, spans = np.full_like(ids, -1), np.full((len(texts), width, 2), -1)
    for row, (text, length) in enumerate(zip(encoded, lengths, strict=True)):
        first, last = len(ends.start), length - len(ends.end)
        own = text.spans[: last - first]
        ids[row, :length] = (*ends.start, *text.ids[: last - first], *ends.end)
        spans[row, first:last] = own
        units[row, first:last] = unit_numbers(texts[row], own, reading.units, inside[row])
    return Rows(
        texts=tuple(texts),
        offsets=tuple(start for start, _ in inside),
        ids=torch.from_numpy(ids),
        units=torch.from_numpy(units),
        spans=torch.from_numpy(spans),
        lengths=torch.tensor(lengths),
    )


def unit_numbers(
    text: str, spans: Sequence[Span], kind: UnitKind, inside: Span | None = None
) -> list[int]:
    """The unit of each token: that in which it begins, dense from 0; -1 outside of `inside`."""
    pieces = spans if kind == "tokens" else words(text) if kind == "words" else sentences(text)
    borders = [start for start, _ in pieces]
    low, high = inside or (0, len(text))
    numbers, unit, last, place = list[int](), -1, -1, -1
    for token, (start, end) in enumerate(spans):
        while place + 1 < len(borders) and borders[place + 1] <= start:
            place += 1
        place = token if kind == "tokens" else place
        if not low <= start < high or end > high:
            numbers.append(-1)
            continue
        if place != last or unit < 0:
            unit, last = unit + 1, place
        numbers.append(unit)
    return numbers
