"""Drops of the target output when random sets of units are removed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xai_bench.core import coalitions, units
from xai_bench.types import Baseline, Case, Inputs, Rng


@dataclass(frozen=True, slots=True, eq=False)
class Drops:
    """`K` sets of removed units per sample, and the output drops that they cause.

    Attributes:
        removed: `[B, K, U]` bool.
        drop: `[B, K]`, target output at x less that without the removed units.
        intact: `[B]`, target output at x.
        difference_from_reference: `[B, *S]`, x less its mean reference; None for an imputer.
    """

    removed: Tensor
    drop: Tensor
    intact: Tensor
    difference_from_reference: Tensor | None


@dataclass(frozen=True)
class CoalitionValues:
    """Random sets of `max(1, round(fraction * U))` units, drawn without replacement, are removed.

    Every sample has its own draws, all explainers the same. Costs `1 + n_draws * R` forward rows
    per sample.
    """

    shared: ClassVar[bool] = True
    baseline: Baseline
    n_draws: int = 100
    fraction: float = 0.2

    def measure(self, case: Case) -> Drops:
        """The sets and the drops, `K` being `n_draws`."""
        model, inputs, rng = case.model, case.inputs, case.rng.child("coalition_values")
        removed = self._removed(inputs, rng)
        intact = coalitions.values_at(model, inputs, case.targets, inputs.x[:, None])
        values = coalitions.values(model, inputs, case.targets, ~removed, self.baseline, rng=rng)
        difference_from_reference = coalitions.difference_from_reference(
            inputs, self.baseline, rng=rng
        )
        return Drops(removed, intact - values, intact[:, 0], difference_from_reference)

    def _removed(self, inputs: Inputs, rng: Rng) -> Tensor:
        """`[B, K, U]` bool: the units with the smallest of as many uniform draws."""
        real = units.present(inputs.units)
        # At least one: a fifth of two units is none, and a set of none says nothing.
        size = (units.count(inputs.units).double() * self.fraction).round().long().clamp(min=1)
        draws = rng.child("subsets").uniform(self.n_draws, real.shape[1])
        # The units with the smallest draws: every set of this size is equally likely.
        order = torch.where(real[:, None], draws, torch.inf).argsort(dim=2, stable=True)
        rank = torch.empty_like(order).scatter_(
            2, order, torch.arange(real.shape[1]).expand_as(order)
        )
        return rank < size[:, None, None]
