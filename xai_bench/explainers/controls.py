"""Explainers that mark the ends of the scale: floors that know nothing, and the truth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xai_bench.core import units
from xai_bench.core.tokens import require_numbers
from xai_bench.explainers.stated_rows import WithoutModel
from xai_bench.types import Explanation, Inputs, Kind, Model, Rng, Unsupported


@dataclass(frozen=True)
class Random(WithoutModel):
    """Normal noise, one draw per unit; called a contribution so that no metric refuses it."""

    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "controls"

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        """A unit's noise is shared by its elements, so that large units rank no better."""
        noise = rng.child("control").normal(units.width(inputs.units))
        return Explanation(units.spread(noise, inputs.units).to(inputs.x.dtype))


@dataclass(frozen=True)
class ConstantMap(WithoutModel):
    """The same attribution for every unit; called a contribution so that no metric refuses it."""

    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "controls"

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        """1 for every unit, shared by its elements."""
        ones = torch.ones(len(inputs), units.width(inputs.units), dtype=torch.float64)
        return Explanation(units.spread(ones, inputs.units))


@dataclass(frozen=True)
class InputMagnitude(WithoutModel):
    """The size of the input: what can be known without a model."""

    kind: ClassVar[Kind] = "relevance"
    category: ClassVar[str] = "controls"

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
