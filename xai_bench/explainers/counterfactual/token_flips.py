"""Counterfactuals of texts: a few words replaced, so that the prediction changes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xai_bench.core import counterfactuals
from xai_bench.explainers.counterfactual.swap_search import (
    SwapCounterfactuals,
    SwapSearch,
    require_classes,
)
from xai_bench.explainers.gradient.engine import require_gradient, value_and_gradient
from xai_bench.types import (
    Explanation,
    Inputs,
    Model,
    Relaxable,
    Rng,
    Symbols,
    Unsupported,
)


@dataclass(frozen=True)
class TokenFlips(SwapCounterfactuals):
    """Tokens are replaced one after the other by those that the gradient promises most of.

    In each step, of all tokens of the text and all of the vocabulary, the `n_candidates` swaps with
    the largest first-order fall of the class's lead are tried, and the one with the smallest lead
    by the model itself stays: a promise alone is never believed. When the prediction has changed,
    swaps that are not needed are undone. Only tokens that occur in training come in, never special
    ones, and a piece of a word for a piece. Gives up after `max_flips` steps, or where no swap
    helps. At most `max_flips * (2 + n_candidates)` rows, and one more for each flip. Ebrahimi+
    2018, with a check of every flip.
    """

    paper: ClassVar[str] = "Ebrahimi+ 2018, arXiv:1712.06751"
    # Of swaps that help alike one is taken; which words change is the model's own matter.
    breaks_axioms: ClassVar[tuple[str, ...]] = ("symmetry", "linearity")

    max_flips: int = 6
    n_candidates: int = 16

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        """Raises `Unsupported` where x holds no tokens, or the model has no embeddings."""
        symbols = inputs.domain.symbols
        if symbols is None or not inputs.domain.discrete:
            raise Unsupported("tokens are swapped in texts, and x holds none")
        require_gradient(model)
        if not isinstance(model, Relaxable):
            raise Unsupported("swaps are found by gradients of embeddings, and this model has none")
        require_classes(model)
        search = _Search(self, model, model, inputs, targets, symbols)
        return search.explanation(self.max_flips)


class _Search(SwapSearch):
    """Swaps that the gradient promises most of."""

    def __init__(
        self,
        method: TokenFlips,
        model: Model,
        embeddings: Relaxable,
        inputs: Inputs,
        targets: Tensor,
        symbols: Symbols,
    ) -> None:
        super().__init__(model, inputs, targets)
        self.method, self.embeddings = method, embeddings
        usable = (symbols.counts > 0) & ~symbols.special
        self.ids = usable.nonzero()[:, 0]
        self.shapes = torch.tensor([_shape(token) for token in symbols.tokens])

    def candidates(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """`[b, K, T]`, all to be tried: the swaps of the largest first-order fall of the lead."""
        if not len(self.ids):
            return self.x[rows, None], torch.zeros(len(rows), 1, dtype=torch.bool)
        inputs = self.inputs.take(rows).with_x(self.x[rows])
        smooth, points = self.embeddings.relaxed(inputs)
        lookup = points.domain.lookup
        assert lookup is not None, "a relaxed model knows its embeddings"

        def lead(inputs: Inputs, targets: Tensor) -> Tensor:
            return counterfactuals.margin(smooth.outputs(inputs), targets, None)

        _, slopes = value_and_gradient(smooth, points, self.targets[rows], lead)
        table = lookup(self.ids[None])[0].detach().to(slopes)
        # HotFlip: the change of the lead to first order is the slope times the change of the
        # embedding.
        here = (slopes * points.x).sum(2)
        swaps = [
            self._swaps(inputs.x[k], inputs.units[k] >= 0, slopes[k] @ table.T - here[k, :, None])
            for k in range(len(rows))
        ]
        tried = torch.stack(swaps)
        return tried, torch.ones(tried.shape[:2], dtype=torch.bool)

    def _swaps(self, x: Tensor, is_word: Tensor, rise: Tensor) -> Tensor:
        """`[K, T]` for one sample: `x`, `is_word` `[T]`, and `rise [T, V']` of the lead."""
        here = x.long().clamp(min=0)
        fits = (self.shapes[here][:, None] == self.shapes[self.ids]) & (here[:, None] != self.ids)
        rise = torch.where(fits & is_word[:, None], rise, torch.inf).flatten()
        order = rise.argsort(stable=True)[: self.method.n_candidates]
        order = order[rise[order].isfinite()]
        swapped = x.repeat(self.method.n_candidates, 1)
        place, word = order // len(self.ids), order % len(self.ids)
        swapped[torch.arange(len(order)), place] = self.ids[word].to(x)
        return swapped


_PIECES = ("##", "▁", "Ġ", " ")
"""How tokenizers write that a token goes on with a word, or begins one."""


def _shape(token: str) -> int:
    """Which of these a token begins with, and whether it has a letter: what may stand for what."""
    mark = next((i for i, piece in enumerate(_PIECES) if token.startswith(piece)), len(_PIECES))
    return 2 * mark + any(letter.isalpha() for letter in token)
