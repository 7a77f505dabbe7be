"""Counterfactuals of texts: a few words replaced, so that the prediction changes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xai_bench.core import counterfactuals, model_outputs
from xai_bench.explainers.counterfactual.search import CounterfactualSearch, explanation_of
from xai_bench.explainers.gradient.engine import require_gradient, value_and_gradient
from xai_bench.types import (
    Explanation,
    Inputs,
    Kind,
    Model,
    Relaxable,
    Rng,
    Rows,
    Symbols,
    Unsupported,
)


@dataclass(frozen=True)
class TokenFlips(CounterfactualSearch):
    """Tokens are replaced one after the other by those that the gradient promises most of.

    In each step, of all tokens of the text and all of the vocabulary, the `n_candidates` swaps with
    the largest first-order fall of the class's lead are tried, and the one with the smallest lead
    by the model itself stays: a promise alone is never believed. When the prediction has changed,
    swaps that are not needed are undone. Only tokens that occur in training come in, never special
    ones, and a piece of a word for a piece. Gives up after `max_flips` steps, or where no swap
    helps. At most `max_flips * (2 + n_candidates)` rows, and one more for each flip. Ebrahimi+
    2018, with a check of every flip.
    """

    kind: ClassVar[Kind] = "relevance"
    category: ClassVar[str] = "counterfactual"
    needs: ClassVar[tuple[str, ...]] = ("vocabulary",)
    paper: ClassVar[str] = "Ebrahimi+ 2018, arXiv:1712.06751"
    fits_tokens: ClassVar[bool] = True
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
        if model.n_outputs < 2:
            raise Unsupported("only a classifier has a prediction that a swap can change")
        search = _Search(self, model, model, inputs, targets, symbols)
        return search.explanation(self.max_flips)

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        """Unknown: whoever has flipped is done."""
        return None


class SwapSearch(ABC):
    """The state of all samples: `x [B, T]` so far, the `lead [B]` of the class, who is done.

    A subclass proposes swaps; the one with the smallest lead by the model itself is taken.
    """

    def __init__(self, model: Model, inputs: Inputs, targets: Tensor) -> None:
        self.model = model
        self.inputs, self.targets, self.x = inputs, targets, inputs.x.clone()
        everyone = torch.arange(len(inputs))
        self.lead = self._leads(everyone, inputs.x[:, None])[:, 0]
        # A sample that is not in the explained class has nothing to leave.
        self.is_active = self.lead > 0
        self.has_flipped = torch.zeros_like(self.is_active)

    def step(self) -> None:
        """One more swap for every sample that is still in its class."""
        rows = self.is_active.nonzero()[:, 0]
        points = self.candidates(rows) if len(rows) else self.x[:0, None]
        if not points.numel():
            return
        least, best = self._leads(rows, points).min(1)
        helps = least < self.lead[rows]
        chosen = points[torch.arange(len(rows)), best]
        self.x[rows[helps]], self.lead[rows[helps]] = chosen[helps], least[helps]
        self.has_flipped[rows] = helps & (least < 0)
        self.is_active[rows] = helps & (least >= 0)

    def undo(self) -> None:
        """Put tokens back, from the first to the last, wherever the prediction stays changed."""
        changed = (self.x != self.inputs.x) & self.has_flipped[:, None]
        for place in range(self.x.shape[1]):
            rows = (changed[:, place] & (changed.sum(1) > 1)).nonzero()[:, 0]
            if not len(rows):
                continue
            tried = self.x[rows].clone()
            tried[:, place] = self.inputs.x[rows, place]
            keeps = self._leads(rows, tried[:, None])[:, 0] < 0
            self.x[rows[keeps]] = tried[keeps]
            changed[rows[keeps], place] = False

    def _leads(self, rows: Tensor, points: Tensor) -> Tensor:
        """`points [b, K, T] -> [b, K]`: the class's output less the largest of the others."""
        outputs = model_outputs.outputs_at(self.model, self.inputs.take(rows), points)
        flat = counterfactuals.margin(
            outputs.flatten(0, 1), self.targets[rows].repeat_interleave(points.shape[1]), None
        )
        return flat.view(points.shape[:2])

    def explanation(self, n_steps: int) -> Explanation:
        """What is found in so many steps, without swaps that are not needed."""
        for _ in range(n_steps):
            self.step()
        self.undo()
        points = torch.where(self.has_flipped[:, None], self.x, torch.nan)
        return explanation_of(self.inputs, points[:, None])

    @abstractmethod
    def candidates(self, rows: Tensor) -> Tensor:
        """`rows [b] -> [b, K, T]`: the texts so far with one more swap each."""


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

    def candidates(self, rows: Tensor) -> Tensor:
        """`[b, K, T]`: the swaps of the largest first-order fall of the lead."""
        if not len(self.ids):
            return self.x[:0, None]
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
        return torch.stack(swaps)

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
