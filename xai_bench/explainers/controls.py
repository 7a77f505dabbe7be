"""Explainers that mark the ends of the scale: floors that know nothing, and the truth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xai_bench.core import units
from xai_bench.types import Explanation, Inputs, Kind, Model, Rng, Rows, Unsupported


@dataclass(frozen=True)
class Random:
    """Normal noise, one draw per unit; called a contribution so that no metric refuses it."""

    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "controls"

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        noise = rng.child("control").normal(units.width(inputs.units))
        return Explanation(units.spread(noise, inputs.units).to(inputs.x.dtype))

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        return Rows(0)


@dataclass(frozen=True)
class ConstantMap:
    """The same credit for every unit; called a contribution so that no metric refuses it."""

    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "controls"

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        ones = torch.ones(len(inputs), units.width(inputs.units), dtype=torch.float64)
        return Explanation(units.spread(ones, inputs.units))

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        return Rows(0)


@dataclass(frozen=True)
class InputMagnitude:
    """The size of the input: what can be known without a model."""

    kind: ClassVar[Kind] = "relevance"
    category: ClassVar[str] = "controls"

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        return Explanation(torch.where(inputs.units < 0, 0, inputs.x.detach().abs()))

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        return Rows(0)


@dataclass(frozen=True)
class Oracle:
    """The written-down attributions of a synthetic task: the ceiling."""

    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "controls"
    needs: ClassVar[tuple[str, ...]] = ("truth",)

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        if inputs.domain.truth is None:
            raise Unsupported("nobody has written down the true attributions of this data")
        return Explanation(inputs.domain.truth(inputs, targets).detach().to(inputs.x.dtype))

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        return Rows(0)
