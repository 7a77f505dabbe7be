"""The probability of a class while the units of the input fade into the baseline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xai_bench.core import units
from xai_bench.core.calls.model_outputs import outputs
from xai_bench.core.tokens import require_numbers
from xai_bench.types import Baseline, Case, Imputer, Inputs, Unsupported


@dataclass(frozen=True, slots=True, eq=False)
class FadedProbability:
    """Probability of the explained class.

    Attributes:
        intact: `[B]`, at x.
        faded: `[B]`, at x with faded units; NaN for a map of one magnitude.
    """

    intact: Tensor
    faded: Tensor


@dataclass(frozen=True)
class Faded:
    """Units blended with the baseline by their magnitude in the map.

    A unit is kept whole at the largest magnitude of the map and replaced at the smallest, linearly
    between. With zeros as the baseline, this is the input times the scaled map. Costs `1 + R`
    forward rows per sample. Raises `Unsupported` for a model that is no classifier.
    """

    shared: ClassVar[bool] = False
    baseline: Baseline

    def measure(self, case: Case) -> FadedProbability:
        """Means over the references of the baseline."""
        inputs = case.inputs
        if case.model.n_outputs < 2 or case.targets.is_floating_point():
            raise Unsupported("only a classifier has a probability for its class")
        require_numbers(inputs.domain, "a blend with the baseline")
        if isinstance(self.baseline, Imputer):
            raise Unsupported("a unit cannot be blended with what depends on other units")
        size = units.pool(case.attribution.double(), inputs.units).abs()
        weight = units.min_max(size, inputs.units)
        # No model is asked at NaN: a map of one magnitude, which has no order, takes nothing away.
        shown = torch.where(weight.isnan(), 1, weight)
        mask = units.lookup(shown[:, None], inputs.units)[:, 0]
        # Padding belongs to no unit and is kept as it is.
        mask = torch.where(inputs.units < 0, 1, mask).to(inputs.x)
        references = self.baseline.references(inputs, rng=case.rng.child("masked"))
        points = [torch.lerp(reference, inputs.x, mask) for reference in references.unbind(1)]
        probabilities = [_probability(case, inputs.with_x(point)) for point in points]
        faded = torch.stack(probabilities, dim=1).mean(1)
        faded = torch.where(weight[:, 0].isnan(), torch.nan, faded)
        return FadedProbability(_probability(case, inputs), faded)


@torch.no_grad()
def _probability(case: Case, inputs: Inputs) -> Tensor:
    """`[B]` float64: of the explained class."""
    # Of the class in target, whatever scalar is explained: the metric is of probabilities.
    shares = outputs(case.model, inputs).softmax(1)
    return shares.gather(1, case.targets[:, None])[:, 0]
