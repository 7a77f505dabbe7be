"""The loss of a model that is retrained without, or on nothing but, the important units."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from xai_bench.core import coalitions, units
from xai_bench.core.calls import model_outputs
from xai_bench.core.seeds import Seeds
from xai_bench.metrics.common import once_per_cell, variants_of
from xai_bench.metrics.probes.removal.curves import counts
from xai_bench.types import Baseline, Case, Imputer, Inputs, Model, ModelVariants, Rng, Unsupported

_CHUNK = 256
"""Rows whose references are in memory at once."""


@dataclass(frozen=True)
class RetrainedLoss:
    """`[B, F]`: a retrained model's loss on the degraded sample less the model's on the sample.

    In the training, validation and test inputs, the top `ceil(f * U)` units by magnitude are
    removed, or with `keep` nothing else is kept; absent units get the mean of the references. One
    model is trained for each of the `F` fractions and explainer, by the same recipe and seed.
    Losses are cross-entropy in nats, or squared error. Costs explanations of the whole training and
    validation parts, once per explainer. Raises `Unsupported` without labels, data or recipe.
    """

    shared: ClassVar[bool] = False
    baseline: Baseline
    fractions: tuple[float, ...]
    keep: bool = False

    def measure(self, case: Case) -> Tensor:
        """`[B, F]` float64."""
        variants, labels = variants_of(case), case.labels
        if labels is None:
            raise Unsupported("retraining is scored by the loss; these samples have no labels")
        intact = _loss(case.model, case.inputs, labels, variants.n_classes)
        rises = []
        for fraction, model in zip(self.fractions, self._models(case, variants), strict=True):
            rng = case.rng.child("retrained")
            x = self._degraded(case.inputs, case.attribution, fraction, rng)
            rises.append(_loss(model, case.inputs.with_x(x), labels, variants.n_classes) - intact)
        return torch.stack(rises, dim=1)

    def _models(self, case: Case, variants: ModelVariants) -> list[Model]:
        """One retrained model for each fraction."""

        def train() -> list[Model]:
            degraded = []
            for name in ("train", "valid"):
                inputs, attribution = _explained(case, variants, name)
                rng = Seeds(0).stream("retrained", name, samples=inputs.index)
                degraded.append(
                    [self._degraded(inputs, attribution, f, rng) for f in self.fractions]
                )
            return variants.degraded_all(list(zip(*degraded, strict=True)))

        return once_per_cell(case, self, train)

    def _degraded(self, inputs: Inputs, attribution: Tensor, fraction: float, rng: Rng) -> Tensor:
        """`[B, *S]`: x without the top units, or with nothing else.

        The attribution is of the same inputs; references are drawn for `_CHUNK` rows at a time.
        """
        scores = units.pool(attribution.double(), inputs.units).abs()
        top = units.ranking(scores, inputs.units, rng=rng) < counts(
            units.count(inputs.units), (fraction,)
        )
        kept = top if self.keep else ~top
        blocks = torch.arange(len(inputs)).split(_CHUNK)
        fills = [self._fill(inputs.take(r), kept[r], rng.take(r)) for r in blocks]
        return coalitions.remove(inputs, kept[:, None], torch.cat(fills)[:, None])[:, 0, 0]

    def _fill(self, inputs: Inputs, kept: Tensor, rng: Rng) -> Tensor:
        """`[B, *S]`: the mean over the references of every element."""
        if isinstance(self.baseline, Imputer):
            return self.baseline.impute(inputs, kept[:, None], rng=rng)[:, 0].mean(1)
        # The mean, since a model is trained on one value per element: draws would be noise to
        # learn.
        return self.baseline.references(inputs, rng=rng).mean(1)


def _explained(case: Case, variants: ModelVariants, part: str) -> tuple[Inputs, Tensor]:
    """A whole part of the data and the maps of its own targets, `[N, *S]`."""
    inputs, targets, _ = variants.split(part)
    attribution = once_per_cell(
        case, (RetrainedLoss, part), lambda: case.explain(inputs, targets=targets)
    )
    return inputs, attribution


@torch.no_grad()
def _loss(model: Model, inputs: Inputs, labels: Tensor, n_classes: int) -> Tensor:
    """`[B]` float64: squared error where there are no classes, else cross-entropy."""
    outputs = model_outputs.outputs(model, inputs)
    if n_classes == 0:
        return (outputs[:, 0] - labels).square()
    return functional.cross_entropy(outputs, labels, reduction="none")
