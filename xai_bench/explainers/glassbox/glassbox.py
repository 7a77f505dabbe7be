"""Explanations that are read off the model, without a row sent through it: exact and free."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xai_bench.core.baselines import Background
from xai_bench.explainers.glassbox.structure import glass_box_of, linear_of
from xai_bench.explainers.glassbox.treeshap import TreeSHAPInterventional
from xai_bench.explainers.stated_rows import WithoutModel
from xai_bench.types import (
    AdditiveStructure,
    Explanation,
    Inputs,
    Kind,
    LinearStructure,
    Model,
    Rng,
)


@dataclass(frozen=True)
class LinearSHAP(WithoutModel):
    """The weight of an element times its distance from the background's mean.

    Exactly the Shapley value of a linear model, with absent units at the mean or drawn from the
    background. Lundberg & Lee 2017.
    """

    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "glassbox"
    needs: ClassVar[tuple[str, ...]] = ("linear",)
    paper: ClassVar[str] = "Lundberg & Lee 2017, arXiv:1705.07874 (linear SHAP)"

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        """Raises `Unsupported` where the model is not linear in x."""
        return Explanation(_linear(linear_of(model), inputs, targets))


@dataclass(frozen=True)
class GlassBox(WithoutModel):
    """The model's own explanation, as exact truth: of a linear model, weight times distance from
    the background's mean; of an additive one, each term less its mean over the background; of a
    single tree, interventional TreeSHAP against all background rows.

    One game for all three: Shapley values with absent units drawn from the whole background. Rudin
    2019 for why to want such models.
    """

    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "glassbox"
    needs: ClassVar[tuple[str, ...]] = ("glass_box",)
    paper: ClassVar[str] = "Rudin 2019, arXiv:1811.10154; Hastie & Tibshirani 1986"

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        """Raises `Unsupported` where the model is none of the three."""
        structure = glass_box_of(model)
        if isinstance(structure, LinearStructure):
            return Explanation(_linear(structure, inputs, targets))
        if isinstance(structure, AdditiveStructure):
            return Explanation(_additive(structure, inputs, targets))
        return TreeSHAPInterventional(Background()).explain(model, inputs, targets, rng=rng)


def _linear(structure: LinearStructure, inputs: Inputs, targets: Tensor) -> Tensor:
    """`[B, *S]`: weight times distance from the background's mean."""
    # The mean of a linear output is the output at the mean, so single rows need not be asked.
    distance = inputs.x.double() - inputs.domain.background.double().mean(0)
    return _in_x(structure.weight[targets].view(inputs.x.shape) * distance, inputs)


def _additive(structure: AdditiveStructure, inputs: Inputs, targets: Tensor) -> Tensor:
    """`[B, *S]`: each term less its mean over the background."""
    background = inputs.domain.background
    means = torch.zeros_like(inputs.x, dtype=torch.float64)
    for k in targets.unique().tolist():
        of_class = torch.full((len(background),), k)
        means[targets == k] = structure.terms(background, of_class).mean(0)
    return _in_x(structure.terms(inputs.x, targets) - means, inputs)


def _in_x(attribution: Tensor, inputs: Inputs) -> Tensor:
    """0 in padding, in the precision of x."""
    return torch.where(inputs.units < 0, 0, attribution).to(inputs.x.dtype)
