"""The target output while units are put back, the least important first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xai_bench.core import coalitions, units
from xai_bench.types import Baseline, Case


@dataclass(frozen=True, slots=True, eq=False)
class Path:
    """A curve of `P` points per sample; one with fewer steps than others stays at its end.

    Attributes:
        added: `[B, P]` long, how many units are put back, from 0 to all.
        values: `[B, P]`, target outputs.
    """

    added: Tensor
    values: Tensor


@dataclass(frozen=True)
class AdditionPath:
    """Units are put back in increasing order of pooled magnitude, in at most `max_steps` steps.

    Costs `1 + R * min(U, max_steps)` forward rows per sample.
    """

    shared: ClassVar[bool] = False
    baseline: Baseline
    max_steps: int = 32

    def measure(self, case: Case) -> Path:
        """The path of the case's map; equal magnitudes are ordered by the metrics' stream."""
        model, inputs, rng = case.model, case.inputs, case.rng.child("addition_path")
        added = self._added(units.count(inputs.units))
        size = units.pool(case.attribution.double(), inputs.units).abs()
        # The smallest magnitudes come first.
        # By magnitude, since the claim of monotonicity is of importance, not of direction.
        rank = units.ranking(-size, inputs.units, rng=rng)
        kept = rank[:, None] < added[:, :-1, None]
        values = coalitions.values(model, inputs, case.targets, kept, self.baseline, rng=rng)
        intact = coalitions.values_at(model, inputs, case.targets, inputs.x[:, None])
        # Where everything is put back, the output is that at x, not one of references and imputers.
        complete = added[:, :-1] == added[:, -1:]
        return Path(added, torch.cat([torch.where(complete, intact, values), intact], dim=1))

    def _added(self, n_units: Tensor) -> Tensor:
        """`[B] -> [B, P]` long: how many units are put back, evenly spaced up to `n_units`."""
        steps = n_units.clamp(max=self.max_steps)[:, None]
        step = torch.arange(int(steps.max()) + 1)
        return torch.minimum(step, steps) * n_units[:, None] // steps
