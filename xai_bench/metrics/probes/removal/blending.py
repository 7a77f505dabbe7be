"""What a classifier sees of an input whose units fade by their magnitude."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xai_bench.core import units
from xai_bench.core.tokens import require_numbers
from xai_bench.types import Baseline, Case, Imputer, Inputs, Unsupported


@dataclass(frozen=True, slots=True, eq=False)
class Faded:
    """Probability of the explained class: `intact [B]` at x, `masked [B]` through the map.

    `masked` is NaN for a map of one magnitude.
    """

    intact: Tensor
    masked: Tensor


@dataclass(frozen=True)
class Masked:
    """Each unit is blended with the baseline: all of it at the largest magnitude of the map, none
    at the smallest, linear between. With zeros as the baseline, the input times the map.

    Costs `1 + R` forward rows per sample. Raises `Unsupported` for what is no class.
    """

    shared: ClassVar[bool] = False
    baseline: Baseline

    def measure(self, case: Case) -> Faded:
        inputs = case.inputs
        if case.model.n_outputs < 2 or case.targets.is_floating_point():
            raise Unsupported("only a classifier has a probability for its class")
        require_numbers(inputs.domain, "a blend with the baseline")
        if isinstance(self.baseline, Imputer):
            raise Unsupported("a unit cannot be blended with what depends on other units")
        size = units.pool(case.attribution.double(), inputs.units).abs()
        weight = units.min_max(size, inputs.units)
        mask = units.lookup(weight[:, None], inputs.units)[:, 0]
        mask = torch.where(inputs.units < 0, 1, mask).to(inputs.x)
        references = self.baseline.references(inputs, rng=case.rng.child("masked"))
        points = [torch.lerp(reference, inputs.x, mask) for reference in references.unbind(1)]
        seen = [_probability(case, inputs.with_x(point)) for point in points]
        masked = torch.stack(seen, dim=1).mean(1)
        masked = torch.where(weight[:, 0].isnan(), torch.nan, masked)
        return Faded(_probability(case, inputs), masked)


@torch.no_grad()
def _probability(case: Case, inputs: Inputs) -> Tensor:
    """`[B]` float64."""
    shares = case.model.outputs(inputs).double().softmax(1)
    return shares.gather(1, case.targets[:, None])[:, 0]
