"""Generated sentences about films, whose sentiment follows from written rules."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from xai_bench.core.seeds import Seeds
from xai_bench.data.bundle import Bundle, Modality, Split, Texts
from xai_bench.data.splits import FRACTIONS
from xai_bench.data.text.corpus import read_rows
from xai_bench.data.text.rows import Reading
from xai_bench.data.text.rules import RulesTruth, SentimentRules
from xai_bench.data.text.tokenizers import WordTokenizer, own_vocabulary

POLARITY: Mapping[str, float] = {
    **dict.fromkeys(("brilliant", "superb", "moving", "wonderful"), 2.0),
    **dict.fromkeys(("good", "fine", "pleasant", "clever"), 1.0),
    **dict.fromkeys(("poor", "dull", "weak", "clumsy"), -1.0),
    **dict.fromkeys(("awful", "dreadful", "terrible", "unbearable"), -2.0),
}
STRENGTH: Mapping[str, float] = {"very": 2.0, "truly": 2.0, "slightly": 0.5, "somewhat": 0.5}
NEGATIONS = ("not", "never")
FRAMES = ("supposedly", "allegedly")
THINGS = (
    "film",
    "plot",
    "cast",
    "music",
    "ending",
    "script",
    "camera",
    "hero",
    "dialogue",
    "score",
)
PLACES = ("city", "harbour", "winter", "train", "garden", "desert", "studio", "village", "storm")
GLUE = ("the", "was", "and", "in", "of", "at", "mind", "while", "a", "with", ",", ".")
SHORTCUT, PLAIN = "matinee", "theatre"
"""One of the two words stands in every sentence and says nothing of its sentiment."""

WORDS = (*POLARITY, *STRENGTH, *NEGATIONS, *FRAMES, *THINGS, *PLACES, *GLUE, SHORTCUT, PLAIN)


@dataclass(frozen=True)
class SentimentGrammar:
    """Sentences of one to three clauses, such as `the plot was not very good`, and their class.

    Polarity words, negations with a scope of three words, strengthening and weakening words, words
    without effect, negations out of scope, and a word at the start that turns the whole sentence.
    The class is drawn with the probability of the oracle, which reads by the rules that made the
    sentences. Truth: the Shapley value of each word, where a removed word is one that says nothing
    (baseline `mask_token`); integrated gradients from that baseline are the same. Rationale: the
    words whose truth is not 0.

    Attributes:
        shortcut: how far the word `matinee` gives the class away: 0 not at all, 1 always.
        long_range: the share of sentences that begin with a framing word.
        strength: the factor of all polarities; the larger, the surer the class.
    """

    modality: ClassVar[Modality] = "text"
    n_rows: int = 3000
    shortcut: float = 0.0
    long_range: float = 0.2
    strength: float = 2.0
    seed: int = 0

    def load(self) -> Bundle:
        """Raises ValueError for shares outside 0 .. 1."""
        if not 0 <= self.shortcut <= 1 or not 0 <= self.long_range <= 1:
            raise ValueError(
                "data.shortcut and data.long_range are shares between 0 and 1; found "
                f"{self.shortcut} and {self.long_range}"
            )
        tokenizer = WordTokenizer(own_vocabulary(WORDS))
        rules = SentimentRules(self._table(tokenizer))
        parts = [
            self._split(tokenizer, rules, part, share)
            for part, share in zip(("train", "valid", "test"), FRACTIONS, strict=True)
        ]
        width = max(part.x.shape[1] for part in parts)
        train, valid, test = (_widened(part, width) for part in parts)
        return Bundle(
            "classification",
            "text",
            train,
            valid,
            test,
            class_names=("negative", "positive"),
            oracle=rules,
            truth=RulesTruth(SentimentRules(self._table(tokenizer))),
            symbols=tokenizer.vocabulary.symbols(train.x),
        )

    def _table(self, tokenizer: WordTokenizer) -> Tensor:
        """`[V, 4]`: what the rules say of every word."""
        table = torch.zeros(len(tokenizer.vocabulary.tokens), 4)
        for word, value in POLARITY.items():
            table[tokenizer.ids[word], 0] = self.strength * value
        for word, value in STRENGTH.items():
            table[tokenizer.ids[word], 1] = value - 1
        table[[tokenizer.ids[word] for word in NEGATIONS], 2] = -2.0
        table[[tokenizer.ids[word] for word in FRAMES], 3] = -2.0
        return table

    @torch.no_grad()
    def _split(
        self, tokenizer: WordTokenizer, rules: SentimentRules, part: str, share: float
    ) -> Split:
        n_rows = max(round(self.n_rows * share), 1)
        rng = Seeds(self.seed).stream("data", part, samples=torch.arange(n_rows))
        drawn = rng.child("words").uniform(_DRAWS).tolist()
        plain = [_sentence(iter(row), self.long_range) for row in drawn]
        # The class is drawn before the shortcut is written, on which it must not depend.
        unmarked = read_rows(plain, tokenizer, Reading())
        chance = rules(unmarked.ids).double().softmax(1)[:, 1]
        y = (rng.child("labels").uniform() < chance).long()
        # A shortcut of 0 is as frequent in both classes; of 1, in all of class 1 alone.
        marked = rng.child("shortcut").uniform() < (1 + self.shortcut * (2 * y - 1)) / 2
        texts = [
            text.replace(PLAIN, SHORTCUT) if mark else text
            for text, mark in zip(plain, marked.tolist(), strict=True)
        ]
        rows = read_rows(texts, tokenizer, Reading())
        return Split(
            x=rows.ids.float(),
            y=y,
            units=rows.units,
            context={"length": rows.lengths},
            rationale=rules.contributions(rows.ids) != 0,
            texts=Texts(rows.texts, rows.spans),
        )


_DRAWS = 48
"""More random numbers than the longest sentence takes."""


def _sentence(draws: Iterator[float], long_range: float) -> str:
    """One sentence from numbers in (0, 1), of which each decides one thing."""
    words = [_pick(FRAMES, draws), ","] if next(draws) < long_range else []
    n_clauses = 1 + int(next(draws) * 3)
    for clause in range(n_clauses):
        words += ["and"] if clause else []
        if next(draws) < 0.3:
            words += _aside(draws)
        words += ["the", _pick(THINGS, draws), "was"]
        words += [_pick(NEGATIONS, draws)] if next(draws) < 0.3 else []
        words += [_pick(tuple(STRENGTH), draws)] if next(draws) < 0.3 else []
        words += [_pick(tuple(POLARITY), draws)]
    return " ".join([*words, "at", "the", PLAIN, "."])


def _aside(draws: Iterator[float]) -> list[str]:
    """Words without effect; a negation among them is too far from what follows."""
    if next(draws) < 0.4:
        return ["never", "mind", "the", _pick(PLACES, draws), ","]
    return ["in", "the", _pick(PLACES, draws), "of", "the", _pick(PLACES, draws), ","]


def _pick(options: tuple[str, ...], draws: Iterator[float]) -> str:
    return options[int(next(draws) * len(options))]


def _widened(part: Split, width: int) -> Split:
    """The same at another width."""
    assert part.rationale is not None
    assert part.texts is not None
    spare = width - part.x.shape[1]
    pad = torch.nn.functional.pad
    spans = pad(part.texts.spans, (0, 0, 0, spare), value=-1)
    return replace(
        part,
        x=pad(part.x, (0, spare), value=-1.0),
        units=pad(part.units, (0, spare), value=-1),
        rationale=pad(part.rationale, (0, spare), value=False),
        texts=Texts(part.texts.strings, spans),
    )
