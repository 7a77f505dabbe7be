"""Drops of the target output when random sets of units are removed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xai_bench.core import coalitions, units
from xai_bench.metrics.common import total
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

    def total_removed(self, values: Tensor) -> Tensor:
        """`values [B, U] -> [B, K]`: the sum over what each set removes."""
        n_samples = _at_once(*self.removed.shape[1:])
        parts = zip(self.removed.split(n_samples), values.split(n_samples), strict=True)
        return torch.cat([total(removed * own[:, None]) for removed, own in parts])


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
        n_samples, subsets = _at_once(self.n_draws, real.shape[1]), rng.child("subsets")
        parts = [
            _smallest(
                subsets.take(rows).uniform(self.n_draws, real.shape[1]), real[rows], size[rows]
            )
            for rows in torch.arange(len(real)).split(n_samples)
        ]
        return torch.cat(parts)


def _smallest(draws: Tensor, real: Tensor, size: Tensor) -> Tensor:
    """`[b, K, U]`, `[b, U]`, `[b]` to `[b, K, U]` bool: so many real units with the smallest draws.

    Every set of this size is equally likely.
    """
    order = torch.where(real[:, None], draws, torch.inf).argsort(dim=2, stable=True)
    rank = torch.empty_like(order).scatter_(2, order, torch.arange(real.shape[1]).expand_as(order))
    return rank < size[:, None, None]


_MOST_CELLS = 1 << 22
"""Of draws or sums that are made at the same time: each takes 32 MB, and a few are."""


def _at_once(n_sets: int, n_units: int) -> int:
    """How many samples."""
    return max(_MOST_CELLS // (n_sets * n_units), 1)
