"""From texts and labels to a bundle of token ids, units and marked evidence."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from xai_bench.core.seeds import Seeds
from xai_bench.data.bundle import Bundle, Modality, Split, Texts
from xai_bench.data.labels import Labels, read_labels
from xai_bench.data.splits import FRACTIONS, Parts, partition
from xai_bench.data.text.continuations import answers_to, stacked
from xai_bench.data.text.gguf_tokenizer import GGUFTokenizer
from xai_bench.data.text.hf_tokenizer import HuggingFaceTokenizer
from xai_bench.data.text.pretrained import CACHED, place_of
from xai_bench.data.text.rows import Reading, Rows, UnitKind, ends_of, framed, rows_of
from xai_bench.data.text.segmentation import Span
from xai_bench.data.text.tokenizers import Encoded, Tokenizer, Vocabulary, WordTokenizer
from xai_bench.data.text.wordpiece import WordPiece

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Example:
    """A text, its label, and the characters in which people saw the evidence, where they looked."""

    text: str
    label: Any
    evidence: tuple[Span, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class TextOptions:
    """What all corpora have in common: how texts are read.

    Attributes:
        tokenizer: `words`, learnt from the training texts; `minilm` or `smollm2`; a `vocab.txt`; a
            folder with a model's tokenizer; or `hf:NAME` for one in the cache of transformers.
        units: what is removed and ranked as one: words, tokens or sentences.
        max_tokens: longer texts lose what is beyond, special tokens counted.
        max_words, min_count, lowercase: of the vocabulary of `words`.
        template: text around each text, with `{text}` in its place: a question to a language model.
            What is around it is never removed.
        answers: class -> what a language model would answer, for each class.
        max_train: train on so many texts at most, the first after they are shuffled; None: on all.
        missing: `error` refuses rows without text or label, `drop` leaves them out.
        fractions: of the rows that train, validate and test, where no part is official.
    """

    modality: ClassVar[Modality] = "text"
    tokenizer: str = "words"
    units: UnitKind = "words"
    max_tokens: int = 64
    max_words: int = 20_000
    min_count: int = 1
    lowercase: bool = True
    template: str = ""
    answers: Mapping[str, str] | None = None
    max_train: int | None = None
    missing: Literal["error", "drop"] = "error"
    fractions: Sequence[float] = FRACTIONS
    split_seed: int = 0

    @property
    def reading(self) -> Reading:
        """How texts become tokens and units."""
        return Reading(self.units, self.max_tokens, self.template)

    def read_tokenizer(self, training_texts: Sequence[str]) -> Tokenizer:
        """The tokenizer; one of words is learnt from these texts."""
        if self.tokenizer != "words":
            return read_tokenizer(self.tokenizer)
        return WordTokenizer.learned(training_texts, self.max_words, self.min_count, self.lowercase)

    def bundle(self, examples: Mapping[str, Sequence[Example]]) -> Bundle:
        """From examples under `train`, and if there are official parts, `valid` and `test`."""
        listed = [example for name in _PARTS for example in examples.get(name, ())]
        kept = [bool(example.text.strip()) and _is_there(example.label) for example in listed]
        if self.missing == "error" and not all(kept):
            row = kept.index(False)
            what = "text" if not listed[row].text.strip() else "label"
            raise ValueError(f"row {row} has no {what}; fill it, or set data.missing=drop")
        sizes = [len(examples.get(name, ())) for name in _PARTS]
        counts = [int(sum(part)) for part in _split_like(kept, sizes)]
        listed = [example for example, stays in zip(listed, kept, strict=True) if stays]
        values = np.array([example.label for example in listed])
        labels = read_labels(values, "label", "classification")
        parts = _parts(labels.y, counts, self.fractions, self.split_seed)
        # Parts are shuffled, so that the first rows are a fair sample.
        parts = replace(parts, train=parts.train[: self.max_train])
        return self.encoded(listed, labels, parts)

    def encoded(self, examples: Sequence[Example], labels: Labels, parts: Parts) -> Bundle:
        """The bundle of examples whose labels are known and whose parts are chosen."""
        texts = [example.text for example in examples]
        tokenizer = self.read_tokenizer([texts[row] for row in parts.train.tolist()])
        rows = read_rows(texts, tokenizer, self.reading)
        evidence = _evidence(examples, rows)
        train, valid, test = (
            _split(rows.take(numbers), labels.y[numbers], _taken(evidence, numbers))
            for numbers in (parts.train, parts.valid, parts.test)
        )
        bundle = Bundle(
            labels.task,
            "text",
            train,
            valid,
            test,
            class_names=labels.class_names,
            symbols=tokenizer.vocabulary.symbols(train.x),
        )
        return self._asked(bundle, tokenizer) if self.answers else bundle

    def _asked(self, bundle: Bundle, tokenizer: Tokenizer) -> Bundle:
        """With the answers of a language model beside every row, one for each class."""
        answers = self.answers or {}
        missing = [name for name in bundle.class_names if name not in answers]
        if missing:
            raise ValueError(
                f"data.answers has no answer for class {missing[0]!r}; the classes are "
                f"{', '.join(bundle.class_names)}"
            )
        # What stands before an answer decides its tokens; without a template, any letter will do.
        tail = self.template.partition("{text}")[2] or "a"
        answer_ids = answers_to(tokenizer, tail, [answers[name] for name in bundle.class_names])

        def asked(split: Split) -> Split:
            alike = stacked([answer_ids]).expand(len(split), -1, -1)
            return replace(split, context={**split.context, "answers": alike})

        parts = {name: asked(getattr(bundle, name)) for name in _PARTS}
        return replace(bundle, train=parts["train"], valid=parts["valid"], test=parts["test"])


_PARTS = ("train", "valid", "test")


def read_tokenizer(name: str) -> Tokenizer:
    """A tokenizer that is there: WordPiece by its `vocab.txt`, that of a GGUF file by its header,
    others by transformers.
    """
    if not name.startswith(CACHED):
        place = place_of(name)
        if place.suffix == ".gguf":
            return GGUFTokenizer.read(place)
        vocabulary = place if place.is_file() else place / "vocab.txt"
        if vocabulary.name.endswith(".txt") and vocabulary.exists():
            return WordPiece.read(vocabulary)
    return HuggingFaceTokenizer.read(name)


def read_rows(texts: Sequence[str], tokenizer: Tokenizer, reading: Reading) -> Rows:
    """The ids, units and places of all texts. Raises ValueError for one without a token."""
    asked = [framed(text, reading.template) for text in texts]
    encoded = [tokenizer.encode(text) for text, _ in asked]
    inside = [span for _, span in asked]
    _check(texts, inside, encoded)
    _tell_unknown(encoded, tokenizer.vocabulary)
    ends = ends_of(tokenizer.vocabulary, reading)
    return rows_of([text for text, _ in asked], inside, encoded, ends, reading)


def _is_there(label: Any) -> bool:
    # NaN, as pandas has it for an empty cell, is not equal to itself.
    return label is not None and bool(label == label) and label != ""


def _split_like(values: Sequence[bool], sizes: Sequence[int]) -> list[Sequence[bool]]:
    ends = np.cumsum(sizes).tolist()
    return [values[end - size : end] for end, size in zip(ends, sizes, strict=True)]


def _parts(y: Tensor, counts: Sequence[int], fractions: Sequence[float], seed: int) -> Parts:
    """Official parts as they are, each shuffled; else by fractions."""
    n_train, n_valid, n_test = counts
    if not n_valid:
        return partition(y, fractions, seed, n_test)
    if not n_test:
        raise ValueError("an official validation part comes with an official test part, too")
    # Files are often sorted by class, and prefixes of a part have to be fair samples.
    order = Seeds(seed).stream("split", samples=torch.arange(len(y))).child("order").uniform()
    rows = order.argsort()
    return Parts(
        rows[rows < n_train],
        rows[(rows >= n_train) & (rows < n_train + n_valid)],
        rows[rows >= n_train + n_valid],
    )


def _evidence(examples: Sequence[Example], rows: Rows) -> Tensor | None:
    """`[N, T]` bool; None where nobody marked anything."""
    if all(example.evidence is None for example in examples):
        return None
    return rows.marked([example.evidence or () for example in examples])


def _taken(values: Tensor | None, numbers: Tensor) -> Tensor | None:
    return None if values is None else values[numbers]


def _split(rows: Rows, y: Tensor, evidence: Tensor | None) -> Split:
    return Split(
        # Exact, for float32 holds all whole numbers below 2^24.
        x=rows.ids.float(),
        y=y,
        units=rows.units,
        context={"length": rows.lengths},
        rationale=evidence,
        texts=Texts(rows.texts, rows.spans),
    )


def _check(texts: Sequence[str], inside: Sequence[Span], encoded: Sequence[Encoded]) -> None:
    for row, (text, (low, high), tokens) in enumerate(zip(texts, inside, encoded, strict=True)):
        if not any(low <= start < high for start, _ in tokens.spans):
            what = "is empty" if not text.strip() else "has nothing that the tokenizer can read"
            raise ValueError(f"text {row} {what}; expected at least one word: remove the row")


def _tell_unknown(encoded: Sequence[Encoded], vocabulary: Vocabulary) -> None:
    alone = [row for row, tokens in enumerate(encoded) if set(tokens.ids) == {vocabulary.unknown}]
    if alone:
        _LOG.warning(
            "%d texts hold only words that the tokenizer does not know, the first of them text %d: "
            "to the model they are rows of unknown tokens",
            len(alone),
            alone[0],
        )
