"""Generated prompts whose answer follows from a rule, with a counterfactual that turns it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from xai_bench.core.seeds import Seeds
from xai_bench.data.bundle import Bundle
from xai_bench.data.text.prompts import Prompt, PromptOptions
from xai_bench.data.text.segmentation import Span

Family = Literal["name_mover", "agreement", "induction", "gated_lookup"]
Swapped = Literal["value", "key", "query"]

NAMES = (
    "Mary", "John", "Tom", "James", "Anna", "Paul", "Mark", "Peter", "Alice", "Robert", "David",
    "Sarah",
)  # fmt: skip
PLACES = ("store", "park", "school", "station", "office", "garden")
OBJECTS = ("drink", "book", "letter", "ticket", "ball", "key")
SINGULAR = ("key", "author", "lamp", "doctor", "picture", "teacher", "river", "car")
TIMES = (("Today", ("is", "are")), ("Yesterday", ("was", "were")))
BETWEEN = ("near", "behind", "of", "beside")
SYMBOLS = (
    "blue", "stone", "river", "apple", "cloud", "horse", "paper", "light", "green", "table",
    "winter", "music", "bread", "silver", "window", "forest",
)  # fmt: skip


@dataclass(frozen=True)
class PromptFamily(PromptOptions):
    """Prompts of one kind. Each has a foil, a counterfactual and the words that decide.

    `name_mover`: who gave something to whom (Wang+ 2022, arXiv:2211.00593); the counterfactual has
    the other giver. `agreement`: the verb goes with the first noun, whatever stands between
    (Linzen+ 2016, arXiv:1611.01368); the counterfactual has it in the other number. `induction`:
    what followed a word before follows it again (Olsson+ 2022, arXiv:2209.11895). `gated_lookup`:
    the value of a key where the gate is open, else `none`.

    Attributes:
        swapped: what the counterfactual of `induction` changes: the value, so that the foil follows
            from it; the query, so that another pair is asked for; or the key, so that nothing
            follows.
        n_pairs: keys and values in `induction` and `gated_lookup`.
    """

    family: Family = "name_mover"
    swapped: Swapped = "value"
    n_pairs: int = 4
    n_rows: int = 2000
    seed: int = 0

    def load(self) -> Bundle:
        """The texts as a bundle; see `Dataset.load`."""
        # Keys, values and one spare symbol are all different.
        if not 2 <= self.n_pairs <= len(SYMBOLS) // 2 - 1:
            raise ValueError(
                f"data.n_pairs={self.n_pairs} must be between 2 and {len(SYMBOLS) // 2 - 1}"
            )
        rng = Seeds(self.seed).stream("data", self.family, samples=torch.arange(self.n_rows))
        drawn = rng.uniform(_DRAWS).tolist()
        make = _FAMILIES[self.family]
        # Tokenizers of word pieces may write a plural, or another name, in more tokens.
        return self.bundle([make(self, iter(row)) for row in drawn], drop_unaligned=True)


_DRAWS = 40


def _chosen(options: Sequence[str], n: int, draws: Iterator[float]) -> list[str]:
    """`n` different ones, in random order."""
    left = list(options)
    return [left.pop(int(next(draws) * len(left))) for _ in range(n)]


def _name_mover(family: PromptFamily, draws: Iterator[float]) -> Prompt:
    giver, taker = names = _chosen(NAMES, 2, draws)
    # In either order, so that the place of a name says nothing of who gives.
    first, second = names if next(draws) < 0.5 else names[::-1]
    (place,), (item,) = _chosen(PLACES, 1, draws), _chosen(OBJECTS, 1, draws)

    def prompt_of(who: str) -> str:
        start = f"When {first} and {second} went to the {place}, "
        return f"{start}{who} gave the {item} to"

    prompt = prompt_of(giver)
    return Prompt(prompt, f" {taker}", f" {giver}", prompt_of(taker), _places(prompt, names))


def _agreement(family: PromptFamily, draws: Iterator[float]) -> Prompt:
    noun, *others = _chosen(SINGULAR, 3, draws)
    plural = next(draws) < 0.5
    when, forms = TIMES[int(next(draws) * 2)]
    n_between = 1 + int(next(draws) * 2)
    between = [
        f"{BETWEEN[int(next(draws) * len(BETWEEN))]} the {_number(other, next(draws) < 0.5)}"
        for other in others[:n_between]
    ]

    def prompt_of(many: bool) -> str:
        return " ".join([when, "the", _number(noun, many), *between])

    prompt = prompt_of(plural)
    right, wrong = forms[plural], forms[not plural]
    return Prompt(prompt, f" {right}", f" {wrong}", prompt_of(not plural), (_third_word(prompt),))


def _induction(family: PromptFamily, draws: Iterator[float]) -> Prompt:
    n = family.n_pairs
    words = _chosen(SYMBOLS, 2 * n + 1, draws)
    keys, values, spare = words[:n], words[n : 2 * n], words[-1]
    asked, other = (keys.index(key) for key in _chosen(keys, 2, draws))

    def prompt_of(key: str, value: str, query: str) -> str:
        pairs = [*zip(keys, values, strict=True)]
        pairs[asked] = (key, value)
        return " ".join([*(f"{k} {v}" for k, v in pairs), query])

    key, value = keys[asked], values[asked]
    swaps = {
        "value": (spare, (key, spare, key)),
        "query": (values[other], (key, value, keys[other])),
        "key": (values[other], (spare, value, key)),
    }
    foil, changed = swaps[family.swapped]
    prompt = prompt_of(key, value, key)
    return Prompt(
        prompt, f" {value}", f" {foil}", prompt_of(*changed), _places(prompt, [key, value])
    )


def _gated_lookup(family: PromptFamily, draws: Iterator[float]) -> Prompt:
    n = family.n_pairs
    words = _chosen(SYMBOLS, 2 * n, draws)
    pairs = [*zip(words[:n], words[n:], strict=True)]
    key, value = pairs[int(next(draws) * n)]
    opened = next(draws) < 0.5

    def prompt_of(gate: bool) -> str:
        listed = " ".join(f"{k} {v}" for k, v in pairs)
        return f"gate {'open' if gate else 'shut'} : {listed} : {key}"

    prompt = prompt_of(opened)
    right, wrong = (value, "none") if opened else ("none", value)
    marked = ["open", key, value] if opened else ["shut"]
    return Prompt(prompt, f" {right}", f" {wrong}", prompt_of(not opened), _places(prompt, marked))


_FAMILIES: Mapping[str, Callable[[PromptFamily, Iterator[float]], Prompt]] = {
    "name_mover": _name_mover,
    "agreement": _agreement,
    "induction": _induction,
    "gated_lookup": _gated_lookup,
}


def _number(noun: str, many: bool) -> str:
    return f"{noun}s" if many else noun


def _places(text: str, words: Sequence[str]) -> tuple[Span, ...]:
    """The characters of every occurrence of the words."""
    matches = (re.finditer(rf"\b{re.escape(word)}\b", text) for word in words)
    return tuple(match.span() for same in matches for match in same)


def _third_word(text: str) -> Span:
    start = text.index(" ", text.index(" ") + 1) + 1
    return start, text.index(" ", start)
