"""Counterfactuals that read like texts: words replaced by what a language model puts there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xai_bench.explainers.counterfactual.swap_search import (
    SwapCounterfactuals,
    SwapSearch,
    require_classes,
)
from xai_bench.types import (
    Explanation,
    Infill,
    Inputs,
    LanguageModel,
    Model,
    Rng,
    Unsupported,
)


@dataclass(frozen=True)
class MaskedInfill(SwapCounterfactuals):
    """Words are replaced one after the other by draws of a masked language model given the others.

    In each step every word of the text is masked in turn and filled `n_draws` times; the draw with
    the smallest lead of the class by the model itself stays. When the prediction has changed, swaps
    that are not needed are undone. Gives up after `max_flips` steps, or where no draw helps. Takes
    no gradient: at most `max_flips * (n_draws + 1)` rows for every token. After Ross+ 2021, who
    mask many words at once, chosen by gradients.
    """

    paper: ClassVar[str] = "Ross+ 2021, arXiv:2012.13985"
    # What fits into a gap depends on the words around it; of draws that help alike one is taken.
    breaks_axioms: ClassVar[tuple[str, ...]] = ("symmetry", "linearity", "dummy")

    max_flips: int = 4
    n_draws: int = 4
    language_model: LanguageModel | None = None

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        """Raises `Unsupported` where x holds no tokens, or there is no masked language model."""
        symbols = inputs.domain.symbols
        if symbols is None or not inputs.domain.discrete:
            raise Unsupported(
                "gaps are filled in texts, and x holds no tokens; use data=sentiment or another"
            )
        if symbols.infill is None:
            raise Unsupported(
                "masked_infill needs a masked language model, and none is there; set "
                "language_model of the explainer in a run, or Symbols.infill"
            )
        require_classes(model)
        draws = rng.child("masked_infill")
        search = _Search(model, inputs, targets, symbols.infill, draws, self.n_draws)
        return search.explanation(self.max_flips)


class _Search(SwapSearch):
    """Swaps that a masked language model draws."""

    def __init__(
        self,
        model: Model,
        inputs: Inputs,
        targets: Tensor,
        infill: Infill,
        rng: Rng,
        n_draws: int,
    ) -> None:
        super().__init__(model, inputs, targets)
        self.infill, self.rng, self.n_draws = infill, rng, n_draws
        self.n_steps = 0

    def candidates(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """`[b, T * R, T]`: every word masked in turn and drawn; tried where there is a word."""
        self.n_steps += 1
        width = self.x.shape[1]
        tokens, is_word = self.x[rows].long(), self.inputs.units[rows] >= 0
        draws = self.rng.take(rows).child(str(self.n_steps)).uniform(width, self.n_draws, width)
        # One row for each word, with one place missing: special tokens and padding have none.
        sample, place = is_word.nonzero(as_tuple=True)
        gap = torch.nn.functional.one_hot(place, width).bool()
        filled = tokens[:, None, None].repeat(1, width, self.n_draws, 1)
        if len(sample):
            filled[is_word] = self.infill.sample(tokens[sample], gap, draws[is_word])
        is_swap = is_word.repeat_interleave(self.n_draws, 1)
        return filled.flatten(1, 2).to(self.x), is_swap
