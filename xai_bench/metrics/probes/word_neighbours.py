"""Texts in which a few words are others: synonyms, words with a typo, or in the other case.

Token for token, so that units stay aligned: a word's neighbour is another id of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional

from xai_bench.core.calls import model_outputs
from xai_bench.types import Case, Relaxable, Symbols, Unsupported

Kind = Literal["synonym", "typo", "case"]
_PIECES = ("##", "▁", "Ġ", " ")
"""How tokenizers mark that a token goes on with a word, or begins one."""


@dataclass(frozen=True, slots=True, eq=False)
class NearbyTexts:
    """Attributes:
    points: `[B, K, T]` ids, token for token like x.
    accepted: `[B, K]` bool, where some word is another and the prediction is the same.
    """

    points: Tensor
    accepted: Tensor


@dataclass(frozen=True)
class WordNeighbours:
    """`n_draws` texts, in each of which `ceil(share * words)` of the words that have neighbours are
    replaced by one of them. The same for all explainers. Costs `1 + n_draws` rows per sample.

    A synonym is one of the `n_nearest` words by the cosine of the model's own embeddings, or one
    that `table` gives, a file with two words a line. A typo swaps two neighbouring letters or loses
    one: that word where the vocabulary has it, else the unknown token. Case is upper, lower or that
    of a title, where the vocabulary has it. Raises `Unsupported` where x holds no tokens.
    """

    shared: ClassVar[bool] = True
    kind: Kind = "synonym"
    share: float = 0.2
    n_draws: int = 4
    n_nearest: int = 4
    table: str = ""

    @torch.no_grad()
    def measure(self, case: Case) -> NearbyTexts:
        """The texts, and which of them the model puts into the class of x."""
        inputs, symbols = case.inputs, case.inputs.domain.symbols
        if symbols is None or not inputs.domain.discrete:
            raise Unsupported("words have neighbours in texts, and x holds no tokens")
        points = self._drawn(case, self._options(case, symbols))
        outputs = model_outputs.outputs_at(case.model, inputs, points)
        before = model_outputs.outputs(case.model, inputs)
        # Words that change the class may change the explanation, too.
        same = outputs.argmax(2) == before.argmax(1)[:, None]
        return NearbyTexts(points, same & (points != inputs.x[:, None]).any(2))

    def _drawn(self, case: Case, options: Tensor) -> Tensor:
        """`options [B, T, A]` ids, -1 where there are fewer, to `[B, K, T]`."""
        inputs, rng = case.inputs, case.rng.child("word_neighbours", self.kind)
        n_options = (options >= 0).sum(2)
        has_any = n_options > 0
        # Less 1e-9 as in `counts`: a product of floats may lie a bit above a whole number.
        n_replaced = (self.share * has_any.sum(1) - 1e-9).ceil()
        width = inputs.x.shape[1]
        order = torch.where(has_any[:, None], rng.uniform(self.n_draws, width), torch.inf)
        chosen = order.argsort(2).argsort(2) < n_replaced[:, None, None]
        draw = rng.child("which").uniform(self.n_draws, width)
        which = (draw * n_options[:, None]).long()[..., None]
        word = options[:, None].expand(-1, self.n_draws, -1, -1).gather(3, which)[..., 0]
        return torch.where(chosen, word.to(inputs.x), inputs.x[:, None])

    def _options(self, case: Case, symbols: Symbols) -> Tensor:
        """`[B, T, A]`: the neighbours of each token, -1 beyond the last."""
        ids = torch.where(case.inputs.units < 0, -1, case.inputs.x.long())
        distinct = [i for i in ids.unique().tolist() if i >= 0]
        neighbours = dict(self._neighbours(case, symbols, distinct))
        width = max((len(near) for near in neighbours.values()), default=0)
        table = torch.full((len(symbols) + 1, max(width, 1)), -1)  # the last row is that of -1
        for i, near in neighbours.items():
            table[i, : len(near)] = torch.tensor(near, dtype=torch.long)
        return table[ids]

    def _neighbours(
        self, case: Case, symbols: Symbols, ids: list[int]
    ) -> Iterator[tuple[int, list[int]]]:
        """The ids that may stand for each of `ids`."""
        if self.kind == "synonym" and not self.table:
            yield from _nearest(case, symbols, ids, self.n_nearest)
            return
        place = {token: i for i, token in enumerate(symbols.tokens)}
        table = _table(self.table) if self.kind == "synonym" else {}
        for i in ids:
            token = symbols.tokens[i]
            words = table.get(token, []) if self.kind == "synonym" else _changed(token, self.kind)
            near = {place[word] for word in words if word in place} - {i}
            if not near and words and self.kind == "typo" and symbols.unknown is not None:
                near = {symbols.unknown} - {i}
            yield i, sorted(near)


def _nearest(
    case: Case, symbols: Symbols, wanted: list[int], n_nearest: int
) -> Iterator[tuple[int, list[int]]]:
    """By cosine among the words of the training texts; marks have no synonyms."""
    if not isinstance(case.model, Relaxable):
        raise Unsupported(
            "synonyms are found by the model's embeddings, and it has none: give a table of words"
        )
    _, points = case.model.relaxed(case.inputs.take(torch.zeros(1, dtype=torch.long)))
    lookup = points.domain.lookup
    assert lookup is not None, "a relaxed model knows its embeddings"
    is_word = torch.tensor([token.lstrip("#▁Ġ ").isalpha() for token in symbols.tokens])
    usable = ((symbols.counts > 0) & ~symbols.special & is_word).nonzero()[:, 0]
    own = torch.tensor([i for i in wanted if is_word[i]], dtype=torch.long)
    if not len(own) or not len(usable):
        return
    ours, theirs = (functional.normalize(lookup(ids[None])[0], dim=1) for ids in (own, usable))
    is_piece = torch.tensor([token.startswith(_PIECES) for token in symbols.tokens])
    fits = (is_piece[own][:, None] == is_piece[usable]) & (own[:, None] != usable)
    likeness = torch.where(fits, ours @ theirs.T, -torch.inf)
    best = likeness.topk(min(n_nearest, len(usable)), dim=1)
    for row, i in enumerate(own.tolist()):
        yield i, usable[best.indices[row][best.values[row].isfinite()]].tolist()


def _changed(token: str, kind: Kind) -> list[str]:
    """The same word in another case, or with a typo where it has at least four letters."""
    if kind == "case":
        return [token.upper(), token.lower(), token.title()]
    if len(token) < 4 or not token.isalpha():
        return []
    swaps = [token[:k] + token[k + 1] + token[k] + token[k + 2 :] for k in range(len(token) - 1)]
    return [*swaps, *(token[:k] + token[k + 1 :] for k in range(1, len(token)))]


def _table(path: str) -> Mapping[str, list[str]]:
    """Word -> words that may stand for it, from a file with two words a line."""
    try:
        lines = Path(path).expanduser().read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise ValueError(
            f"{path} cannot be read: {error}; give a file, two words a line"
        ) from error
    neighbours: dict[str, list[str]] = {}
    for number, line in enumerate(lines, start=1):
        words = line.split()
        if words and len(words) != 2:
            raise ValueError(f"line {number} of {path} has {len(words)} words; expected two")
        for word, other in [words, words[::-1]] if words else []:
            neighbours.setdefault(word, []).append(other)
    return neighbours


@dataclass(frozen=True)
class NearbyAttributions:
    """`[B, K, T]`: the maps of the texts of `WordNeighbours`; `n_draws` explanations per sample."""

    shared: ClassVar[bool] = False
    neighbours: WordNeighbours

    def measure(self, case: Case) -> Tensor:
        """With the explainer's own random numbers, so that only the text differs."""
        points = case.measure(self.neighbours).points
        near: list[Tensor] = [case.explain(case.inputs.with_x(p)) for p in points.unbind(1)]
        return torch.stack(near, dim=1)
