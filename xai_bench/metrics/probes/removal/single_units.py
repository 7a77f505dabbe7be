"""Drops of the target output when one unit is removed, and when all are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xai_bench.core import coalitions, units
from xai_bench.core.sliding_windows import Axis, WindowDesign
from xai_bench.types import Baseline, Case


@dataclass(frozen=True, slots=True, eq=False)
class SingleDrops:
    """The output drops that single units cause.

    Attributes:
        drop: `[B, U]`, target output at x less that without the unit; 0 in padding columns.
        squared: `[B, U]`, mean over the references of the squared drop.
        intact: `[B]`, target output at x.
    """

    drop: Tensor
    squared: Tensor
    intact: Tensor


@dataclass(frozen=True)
class LeaveOneOut:
    """Every unit is removed on its own. Costs `1 + U * R` forward rows per sample."""

    shared: ClassVar[bool] = True
    baseline: Baseline

    def measure(self, case: Case) -> SingleDrops:
        """The drop of every unit, mean over the references."""
        model, inputs, targets = case.model, case.inputs, case.targets
        real = units.present(inputs.units)
        kept = WindowDesign.over(Axis.of(real.shape[1], 1, 1)).part(1, None, len(inputs))
        rng = case.rng.child("leave_one_out")
        # Reference by reference, since the mean square is not the square of the mean.
        values = coalitions.values_each(model, inputs, targets, kept, self.baseline, rng=rng)
        intact = coalitions.values_at(model, inputs, targets, inputs.x[:, None])
        # In padding columns nothing is removed, but a model in other batches may round.
        drops = torch.where(real[..., None], intact[..., None] - values, 0)
        return SingleDrops(drops.mean(2), drops.square().mean(2), intact[:, 0])


@dataclass(frozen=True, slots=True, eq=False)
class TotalDrop:
    """The output drop that the removal of all units causes.

    Attributes:
        intact: `[B]`, target output at x.
        drop: `[B]`, target output at x less that without any unit.
    """

    intact: Tensor
    drop: Tensor


@dataclass(frozen=True)
class RemoveAll:
    """All units are removed at once. Costs `1 + R` forward rows per sample."""

    shared: ClassVar[bool] = True
    baseline: Baseline

    def measure(self, case: Case) -> TotalDrop:
        """The drop, mean over the references."""
        model, inputs, targets = case.model, case.inputs, case.targets
        nothing = torch.zeros(len(inputs), 1, units.width(inputs.units), dtype=torch.bool)
        rng = case.rng.child("remove_all")
        empty = coalitions.values(model, inputs, targets, nothing, self.baseline, rng=rng)
        intact = coalitions.values_at(model, inputs, targets, inputs.x[:, None])
        return TotalDrop(intact[:, 0], (intact - empty)[:, 0])
