"""From text to ids of a vocabulary, and back to the characters that each id stands for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from xai_bench.data.text.segmentation import Span, words
from xai_bench.types import Symbols

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


@dataclass(frozen=True, slots=True)
class Encoded:
    """The tokens of one text, without special ones: their ids and the characters of each."""

    ids: tuple[int, ...]
    spans: tuple[Span, ...]


@dataclass(frozen=True)
class Vocabulary:
    """What the ids of a tokenizer stand for.

    Attributes:
        tokens: the text of each id; special: the ids that stand for no text.
        start, end: ids that every sequence begins and ends with.
        prompt_start: ids that a prompt begins with, which may be more than `start`.
    """

    tokens: tuple[str, ...]
    special: frozenset[int] = frozenset()
    start: tuple[int, ...] = ()
    end: tuple[int, ...] = ()
    prompt_start: tuple[int, ...] = ()
    mask: int | None = None
    unknown: int | None = None
    padding: int | None = None

    def symbols(self, ids: Tensor) -> Symbols:
        """What explainers and baselines know of it; `ids` are those of the training rows."""
        n_tokens = len(self.tokens)
        special = torch.zeros(n_tokens, dtype=torch.bool)
        special[list(self.special)] = True
        return Symbols(
            tokens=self.tokens,
            special=special,
            counts=ids[ids >= 0].long().bincount(minlength=n_tokens),
            mask=self.mask,
            unknown=self.unknown,
            padding=self.padding,
        )


class Tokenizer(Protocol):
    """Cuts a text into tokens of a vocabulary."""

    @property
    def vocabulary(self) -> Vocabulary:
        """The tokens, and which of them are special."""
        ...

    def encode(self, text: str) -> Encoded:
        """The tokens of a text, without special ones."""
        ...


@dataclass(frozen=True)
class WordTokenizer:
    """A token is a word as `segmentation.words` cuts it; other words are `[UNK]`."""

    vocabulary: Vocabulary
    lowercase: bool = True
    ids: Mapping[str, int] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def learned(
        cls,
        texts: Iterable[str],
        max_words: int = 20_000,
        min_count: int = 1,
        lowercase: bool = True,
    ) -> WordTokenizer:
        """With the most frequent words of some texts; equally frequent ones in alphabetic order."""
        counts = Counter(
            text[a:b].lower() if lowercase else text[a:b] for text in texts for a, b in words(text)
        )
        ranked = sorted(counts, key=lambda word: (-counts[word], word))
        kept = [word for word in ranked if counts[word] >= min_count][:max_words]
        return cls(own_vocabulary(kept), lowercase)

    def __post_init__(self) -> None:
        numbers = {token: number for number, token in enumerate(self.vocabulary.tokens)}
        object.__setattr__(self, "ids", numbers)

    def encode(self, text: str) -> Encoded:
        """The tokens of a text, without special ones."""
        spans = words(text)
        unknown = self.vocabulary.unknown or 0
        pieces = (text[a:b].lower() if self.lowercase else text[a:b] for a, b in spans)
        return Encoded(tuple(self.ids.get(word, unknown) for word in pieces), tuple(spans))


def own_vocabulary(kept: Iterable[str]) -> Vocabulary:
    """Special tokens first, then the words, without any that is written like a special one."""
    tokens = (*SPECIAL, *(word for word in kept if word not in SPECIAL))
    return bert_vocabulary(tokens)


def bert_vocabulary(tokens: tuple[str, ...]) -> Vocabulary:
    """The five special tokens of BERT wherever they stand among `tokens`, used as it uses them."""
    padding, unknown, start, end, mask = (tokens.index(name) for name in SPECIAL)
    return Vocabulary(
        tokens=tokens,
        special=frozenset((padding, unknown, start, end, mask)),
        start=(start,),
        end=(end,),
        prompt_start=(start,),
        mask=mask,
        unknown=unknown,
        padding=padding,
    )
