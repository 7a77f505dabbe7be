"""Explainers that mark the ends of the scale: floors that know nothing, and the truth."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xai_bench.core import units
from xai_bench.core.tokens import require_numbers
from xai_bench.explainers.stated_rows import WithoutModel
from xai_bench.types import (
    Case,
    Cost,
    Explanation,
    Inputs,
    Kind,
    Metric,
    Model,
    Rng,
    Symbols,
    Unsupported,
)


@dataclass(frozen=True)
class Random(WithoutModel):
    """Normal noise, one draw per unit; called a contribution so that no metric refuses it."""

    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "controls"
    breaks_axioms: ClassVar[tuple[str, ...]] = ("dummy", "symmetry", "linearity")

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        """A unit's noise is shared by its elements, so that large units rank no better."""
        # Per unit, not per element: the sum over a large unit would vary more and rank higher.
        noise = rng.child("control").normal(units.width(inputs.units))
        return Explanation(units.spread(noise, inputs.units).to(inputs.x.dtype))


@dataclass(frozen=True)
class ConstantMap(WithoutModel):
    """The same attribution for every unit; called a contribution so that no metric refuses it."""

    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "controls"
    breaks_axioms: ClassVar[tuple[str, ...]] = ("dummy", "linearity")

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        """1 for every unit, shared by its elements."""
        ones = torch.ones(len(inputs), units.width(inputs.units), dtype=torch.float64)
        return Explanation(units.spread(ones, inputs.units))


@dataclass(frozen=True)
class InputMagnitude(WithoutModel):
    """The size of the input: what can be known without a model."""

    kind: ClassVar[Kind] = "relevance"
    category: ClassVar[str] = "controls"
    breaks_axioms: ClassVar[tuple[str, ...]] = ("dummy", "linearity")

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        """`|x|`, and 0 in padding."""
        require_numbers(inputs.domain, "input_magnitude")
        return Explanation(torch.where(inputs.units < 0, 0, inputs.x.detach().abs()))


@dataclass(frozen=True)
class Oracle(WithoutModel):
    """The written-down attributions of a synthetic task: the ceiling."""

    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "controls"
    needs: ClassVar[tuple[str, ...]] = ("truth",)

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        """The truth of the data; raises `Unsupported` where none is written down."""
        if inputs.domain.truth is None:
            raise Unsupported("nobody has written down the true attributions of this data")
        return Explanation(inputs.domain.truth(inputs, targets).detach().to(inputs.x.dtype))


@dataclass(frozen=True)
class DegradedOracle(Oracle):
    """The truth under normal noise: what a useful metric ranks between truth and chance.

    Attributes:
        noise: its deviation, in root mean squares of the true attributions of the sample's units.
    """

    noise: float = 1.0

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        """One draw per unit; raises `Unsupported` where no truth is written down."""
        truth = super().explain(model, inputs, targets, rng=rng).attribution.double()
        squares = units.pool(truth, inputs.units).square().sum(1)
        size = (squares / units.count(inputs.units)).sqrt()
        noise = rng.child("degraded").normal(units.width(inputs.units)) * size[:, None]
        spread = units.spread(noise, inputs.units)
        return Explanation((truth + self.noise * spread).to(inputs.x.dtype))


@dataclass(frozen=True)
class FirstTokens(WithoutModel):
    """Units rank by their place, the first one highest: strong where what matters comes first."""

    kind: ClassVar[Kind] = "ranking"
    category: ClassVar[str] = "controls"
    breaks_axioms: ClassVar[tuple[str, ...]] = ("dummy", "symmetry", "linearity")

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        """1 for the first unit, falling evenly to 1 over their number."""
        n_units = units.count(inputs.units)[:, None].double()
        place = torch.arange(units.width(inputs.units))
        scores = (n_units - place).clamp(min=0) / n_units.clamp(min=1)
        return Explanation(units.spread(scores, inputs.units).to(inputs.x.dtype))


@dataclass(frozen=True)
class _OfTokens(WithoutModel):
    """Base of controls that look at the tokens of a unit."""

    kind: ClassVar[Kind] = "relevance"
    category: ClassVar[str] = "controls"
    needs: ClassVar[tuple[str, ...]] = ("vocabulary",)
    breaks_axioms: ClassVar[tuple[str, ...]] = ("dummy", "symmetry", "linearity")

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        """Of every token; a unit has the sum. Raises `Unsupported` where x holds no ids."""
        symbols = inputs.domain.symbols
        if symbols is None or not inputs.domain.discrete:
            raise Unsupported("this control reads the tokens of texts, and x holds none")
        ids = inputs.x.long().clamp(min=0)
        scores = self.table(symbols)[ids]
        return Explanation(torch.where(inputs.units < 0, 0, scores).to(inputs.x.dtype))

    def table(self, symbols: Symbols) -> Tensor:
        """`[V]` float64: what each token of the vocabulary gets."""
        raise NotImplementedError


@dataclass(frozen=True)
class Punctuation(_OfTokens):
    """1 for tokens without a letter or a digit, else 0: strong where marks carry the tone."""

    kind: ClassVar[Kind] = "relevance"
    category: ClassVar[str] = "controls"

    def table(self, symbols: Symbols) -> Tensor:
        """From Unicode's categories of letters and numbers."""
        return _by_text(symbols, lambda text: float(not any(map(_is_word, text))))


@dataclass(frozen=True)
class TokenLength(_OfTokens):
    """The number of letters and digits of each token: long words carry more meaning."""

    kind: ClassVar[Kind] = "relevance"
    category: ClassVar[str] = "controls"

    def table(self, symbols: Symbols) -> Tensor:
        """Marks of tokenizers, such as `##`, do not count."""
        return _by_text(symbols, lambda text: float(sum(map(_is_word, text))))


@dataclass(frozen=True)
class InverseFrequency(_OfTokens):
    """How rare each token is in the training texts: `log((1 + N) / (1 + n))`."""

    kind: ClassVar[Kind] = "relevance"
    category: ClassVar[str] = "controls"
    paper: ClassVar[str] = "Spaerck Jones 1972, doi:10.1108/eb026526 (of tokens)"

    def table(self, symbols: Symbols) -> Tensor:
        """`N` tokens in all, `n` of this one."""
        # Special tokens are in every text and say nothing of how rare a word is.
        counts = torch.where(symbols.special, 0, symbols.counts).double()
        return ((1 + counts.sum()) / (1 + counts)).log()


@dataclass(frozen=True)
class MetricMaximiser:
    """The best of many blind maps by the metric itself: what optimising a score alone reaches.

    It sees neither truth nor the model, but for what the metric asks of it. Where it scores like
    the truth and is none, the metric can be gamed. Random search: even steps are fresh maps, odd
    ones change the best so far, and half the units of every other pair are 0.

    Attributes:
        metric: what is maximised, or minimised where lower is better.
        n_steps: maps tried.
    """

    metric: Metric
    n_steps: int = 64
    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "controls"
    breaks_axioms: ClassVar[tuple[str, ...]] = ("dummy", "symmetry", "linearity")

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        """The map of the best score per sample; a map without a score is never best."""
        best = torch.zeros(len(inputs), units.width(inputs.units), dtype=torch.float64)
        worth = torch.full((len(inputs),), -torch.inf, dtype=torch.float64)
        for step in range(self.n_steps):
            tried = self._proposal(best, step, rng.child("maximiser", step))
            score = self._worth(tried, model, inputs, targets, rng)
            # NaN compares as false, so a map that cannot be scored is never kept.
            better = score > worth
            best = torch.where(better[:, None], tried, best)
            worth = torch.where(better, score, worth)
        return Explanation(units.spread(best, inputs.units).to(inputs.x.dtype))

    def _proposal(self, best: Tensor, step: int, rng: Rng) -> Tensor:
        """`[B, U] -> [B, U]`."""
        noise = rng.normal(best.shape[1])
        tried = noise if step % 2 == 0 else best + 0.5 * noise
        kept = rng.child("kept").uniform(best.shape[1]) < 0.5
        return torch.where(kept, tried, 0) if step % 4 < 2 else tried

    def _worth(
        self, scores: Tensor, model: Model, inputs: Inputs, targets: Tensor, rng: Rng
    ) -> Tensor:
        """`[B]`, higher is better; other inputs are explained by the same map of their sample."""
        attribution = units.spread(scores, inputs.units).to(inputs.x.dtype)

        nothing = torch.zeros(len(inputs), dtype=torch.float64)
        case = Case(
            model=model,
            inputs=inputs,
            targets=targets,
            explanation=Explanation(attribution),
            kind=self.kind,
            rng=rng.child("metric"),
            explain=_SameMap(attribution, inputs.index),
            cost=Cost(nothing, nothing, nothing, nothing),
        )
        worth = self.metric.score(case).double()
        return worth if self.metric.higher_is_better else -worth


@dataclass(frozen=True, eq=False)
class _SameMap:
    """Explains every input of a sample by one map: `attribution [B, *S]` of samples `index [B]`."""

    attribution: Tensor
    index: Tensor

    def __call__(
        self,
        inputs: Inputs,
        *,
        repeat: int = 0,
        model: Model | None = None,
        targets: Tensor | None = None,
    ) -> Tensor:
        """The map of each row's sample; all else is ignored."""
        same = inputs.index[:, None] == self.index
        return self.attribution[same.byte().argmax(1)]


def _is_word(letter: str) -> bool:
    return unicodedata.category(letter)[0] in "LN"


def _by_text(symbols: Symbols, score: Callable[[str], float]) -> Tensor:
    return torch.tensor([score(text) for text in symbols.tokens], dtype=torch.float64)
