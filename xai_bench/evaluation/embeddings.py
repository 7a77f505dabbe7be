"""Explainers that need gradients or layers, run where tokens have them: at their embeddings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import cast

from torch import Tensor

from xai_bench.evaluation.context import ConfiguredExplainer
from xai_bench.types import (
    Anytime,
    Explainer,
    Explanation,
    Inputs,
    Kind,
    Model,
    Relaxable,
    Rng,
    Unsupported,
    tags_of,
)

_AT_EMBEDDINGS = {"gradient", "module"}
"""What an explainer may need that ids do not have."""


def at_embeddings(configured: ConfiguredExplainer, inputs: Inputs) -> ConfiguredExplainer:
    """The explainer as it is, or run at the embeddings where `x` holds ids and it needs more."""
    explainer = configured.explainer
    if not inputs.domain.discrete or not _AT_EMBEDDINGS & set(tags_of(explainer).needs):
        return configured
    kind = AnytimeAtEmbeddings if isinstance(explainer, Anytime) else AtEmbeddings
    return replace(configured, explainer=cast(Explainer, kind(explainer)))


@dataclass(frozen=True)
class AtEmbeddings:
    """An explainer whose attributions of embeddings are summed over their `D` numbers.

    What is a contribution or a relevance of each number is one of the token. A sensitivity is a
    slope along each number, and becomes the slope's Euclidean length, a relevance.
    """

    explainer: Explainer

    @property
    def kind(self) -> Kind:
        """That of the token's number."""
        return "relevance" if self.explainer.kind == "sensitivity" else self.explainer.kind

    @property
    def category(self) -> str:
        """That of the explainer."""
        return self.explainer.category

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        """`[B, T]`. Raises `Unsupported` for models without embeddings, and for counterfactuals."""
        smooth, points = _relaxed(model, inputs)
        return self.by_token(self.explainer.explain(smooth, points, targets, rng=rng))

    def by_token(self, explanation: Explanation) -> Explanation:
        """`[B, T, D]` to `[B, T]`."""
        if explanation.counterfactuals is not None:
            raise Unsupported("a counterfactual between words is no text")
        values, errors = explanation.attribution.double(), explanation.standard_error
        if self.explainer.kind == "sensitivity":
            # Without an error: that of a length needs the covariances of its numbers.
            return replace(
                explanation, attribution=values.square().sum(-1).sqrt(), standard_error=None
            )
        # The error of a unit's sum is shared evenly by its numbers, like the sum itself.
        summed = None if errors is None else errors.double().sum(-1)
        # Contributions add up over the numbers of a token, whose output change they share.
        return replace(explanation, attribution=values.sum(-1), standard_error=summed)


@dataclass(frozen=True)
class AnytimeAtEmbeddings(AtEmbeddings):
    """The same for an explainer with a budget."""

    @property
    def budget(self) -> int:
        """Model rows per sample."""
        return cast(Anytime, self.explainer).budget

    def anytime(
        self, model: Model, inputs: Inputs, targets: Tensor, budgets: Sequence[int], *, rng: Rng
    ) -> Iterator[Explanation]:
        """One explanation per budget, as in `Anytime`."""
        smooth, points = _relaxed(model, inputs)
        explainer = cast(Anytime, self.explainer)
        for explanation in explainer.anytime(smooth, points, targets, budgets, rng=rng):
            yield self.by_token(explanation)


def _relaxed(model: Model, inputs: Inputs) -> tuple[Model, Inputs]:
    if not model.differentiable or not isinstance(model, Relaxable):
        raise Unsupported("gradients by tokens need a model with embeddings, and this one has none")
    return model.relaxed(inputs)
