"""Finite differences: slopes of models that have no gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xai_bench.core import units
from xai_bench.types import Explanation, Inputs, Kind, Model, Rng, Rows


@dataclass(frozen=True)
class SensitivityAnalysis:
    """The slope of the output in each unit, by a central difference. Saltelli+ 2008.

    Exact where the output is linear or quadratic in the unit. The elements of a unit move together,
    each by `step` standard deviations of its own in the data, and all get the slope per unit of
    input that would explain the difference.
    """

    kind: ClassVar[Kind] = "sensitivity"
    category: ClassVar[str] = "gradient"
    paper: ClassVar[str] = "Saltelli+ 2008, ISBN 978-0-470-05997-5"
    # Steps follow the spread of each column, over kinks of the network.
    breaks_axioms: ClassVar[tuple[str, ...]] = ("symmetry",)

    step: float = 0.1

    @torch.no_grad()
    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        """Raises ValueError for a step that is not above 0."""
        if self.step <= 0:
            raise ValueError(f"a finite difference needs a step above 0; found step={self.step}")
        slopes = torch.zeros_like(units.present(inputs.units), dtype=torch.float64)
        for sample, unit in _sample_unit_pairs(inputs, model.max_rows // 2):
            slopes[sample, unit] = self._slopes(model, inputs.take(sample), targets[sample], unit)
        by_element = units.lookup(slopes[:, None], inputs.units)[:, 0]
        return Explanation(torch.where(inputs.units < 0, 0, by_element).to(inputs.x.dtype))

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        """One row on either side, for every unit."""
        return Rows(2 * n_units)

    def _slopes(self, model: Model, inputs: Inputs, targets: Tensor, unit: Tensor) -> Tensor:
        """`[K]`: of sample `k` in its unit `unit[k]`."""
        is_moved = inputs.units == unit.view(-1, *[1] * (inputs.x.dim() - 1))
        move = is_moved * (self.step * inputs.domain.scale).to(inputs.x)
        ends = inputs.stacked(torch.stack([inputs.x + move, inputs.x - move], dim=1))
        up, down = model.target_output(ends, targets.repeat_interleave(2)).double().view(-1, 2).T
        # In float64, since the difference of two close outputs has few digits left. One slope for
        # all elements of the unit, with which their moves explain the difference.
        slopes: Tensor = (up - down) / (2 * move.double().flatten(1).sum(1))
        return slopes


def _sample_unit_pairs(inputs: Inputs, at_once: int) -> list[tuple[Tensor, Tensor]]:
    """Every unit of every sample, in parts of at most `at_once`: `[K]` samples and `[K]` units."""
    pairs = units.present(inputs.units).nonzero().split(max(at_once, 1))
    return [(part[:, 0], part[:, 1]) for part in pairs]
