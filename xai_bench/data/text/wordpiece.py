"""WordPiece, the tokenizer of BERT, read from a `vocab.txt`. Devlin+ 2019, arXiv:1810.04805."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from xai_bench.data.text.segmentation import Span, is_ideograph
from xai_bench.data.text.tokenizers import SPECIAL, Encoded, Vocabulary, bert_vocabulary

_LONGEST = 100
"""Longer words are unknown, as in the original."""

_Letter = tuple[str, int]
"""A character as it is looked up, and its place in the text."""


@dataclass(frozen=True)
class WordPiece:
    """Words are cut into the longest pieces of the vocabulary, from left to right.

    White space and punctuation end a word, an ideograph is one. `lowercase` also takes accents
    away. Ids, and places of the pieces in the text, are those of the original.
    """

    vocabulary: Vocabulary
    lowercase: bool = True
    ids: Mapping[str, int] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def read(cls, path: Path) -> WordPiece:
        """From a `vocab.txt`, and `tokenizer_config.json` where it lies beside it.

        Raises ValueError where the special tokens of BERT are missing.
        """
        tokens = tuple(path.read_text(encoding="utf-8").splitlines())
        missing = [name for name in SPECIAL if name not in tokens]
        if missing:
            raise ValueError(
                f"{path} has no {missing[0]}; a WordPiece vocabulary has one token a line, with "
                f"{', '.join(SPECIAL)} among them"
            )
        config = path.with_name("tokenizer_config.json")
        settings = json.loads(config.read_text(encoding="utf-8")) if config.exists() else {}
        return cls(bert_vocabulary(tokens), bool(settings.get("do_lower_case", True)))

    def __post_init__(self) -> None:
        numbers = {token: number for number, token in enumerate(self.vocabulary.tokens)}
        object.__setattr__(self, "ids", numbers)

    def encode(self, text: str) -> Encoded:
        """The tokens of a text, without special ones."""
        pieces = [piece for word in self._words(text) for piece in self._pieces(word)]
        return Encoded(tuple(i for i, _ in pieces), tuple(span for _, span in pieces))

    def _words(self, text: str) -> Iterator[list[_Letter]]:
        """Between white space, with punctuation and ideographs apart."""
        word: list[_Letter] = []
        for place, original in enumerate(text):
            normal = _normal(original, self.lowercase)
            if normal is None:
                yield word
                word = []
                continue
            for letter, alone in normal:
                if alone:
                    yield word
                    yield [(letter, place)]
                    word = []
                else:
                    word.append((letter, place))
        yield word

    def _pieces(self, word: list[_Letter]) -> list[tuple[int, Span]]:
        """Ids and places of the pieces; the whole word is unknown where one cannot be had."""
        if not word:
            return []
        pieces, start, letters = [], 0, "".join(letter for letter, _ in word)
        unknown = [(self.vocabulary.unknown or 0, _span(word))]
        if len(word) > _LONGEST:
            return unknown
        while start < len(word):
            end = self._longest(letters, start)
            if end == start:
                return unknown
            name = letters[start:end] if start == 0 else f"##{letters[start:end]}"
            pieces.append((self.ids[name], _span(word[start:end])))
            start = end
        return pieces

    def _longest(self, letters: str, start: int) -> int:
        """Where the longest piece that begins at `start` ends; `start` if there is none."""
        prefix = "##" if start else ""
        for end in range(len(letters), start, -1):
            if prefix + letters[start:end] in self.ids:
                return end
        return start


def _span(letters: list[_Letter]) -> Span:
    return letters[0][1], letters[-1][1] + 1


@cache
def _normal(character: str, lowercase: bool) -> tuple[tuple[str, bool], ...] | None:
    """The letters that a character is looked up as, and whether each is a word of its own.

    None for white space, nothing for control characters.
    """
    # First, for line ends and tabs are control characters, too.
    if character.isspace():
        return None
    if character in "\0\ufffd" or unicodedata.category(character)[0] == "C":
        return ()
    letters = character
    if lowercase:
        parts = unicodedata.normalize("NFD", character)
        letters = "".join(part for part in parts if unicodedata.category(part) != "Mn").lower()
    alone = is_ideograph(character)
    return tuple((letter, alone or _is_punctuation(letter)) for letter in letters)


def _is_punctuation(character: str) -> bool:
    """Every sign of ASCII, and what Unicode calls punctuation."""
    ascii_sign = character.isascii() and character.isprintable() and not character.isalnum()
    return ascii_sign or unicodedata.category(character)[0] == "P"
