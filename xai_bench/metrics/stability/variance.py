"""The variance of a map among neighbours, split into input and sampling noise.

The map of a sampling method differs between two neighbours even where both have the same expected
map. Here every neighbour is explained more than once, with fresh random numbers, and an analysis of
variance separates the two causes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xai_bench.metrics.common import total
from xai_bench.metrics.probes.repeats import RepeatedNeighbours
from xai_bench.types import Case


@dataclass(frozen=True)
class InputSensitivity:
    """Variance of the expected map among neighbours, over the map's squared size.

    The explainer's own noise is subtracted without bias: pure noise scores 0 on average, and single
    samples a little above or below. NaN for a map of zeros. Costs `n_draws * n_repeats`
    explanations, shared with the noise share.
    """

    category: ClassVar[str] = "stability"
    higher_is_better: ClassVar[bool] = False
    paper: ClassVar[str] = "Searle+ 1992, Variance Components (one-way random effects)"
    radius: float = 0.1
    n_draws: int = 10
    n_repeats: int = 2

    def score(self, case: Case) -> Tensor:
        """`[B]`, around 0 or more."""
        variances = case.measure(RepeatedNeighbours(self.radius, self.n_draws, self.n_repeats))
        # Squared, since a variance is: the ratio has no unit.
        size = total(case.attribution.double().flatten(1).square())
        return total(variances.input.flatten(1)) / torch.where(size > 0, size, torch.nan)


@dataclass(frozen=True)
class NoiseShare:
    """Share of the map's variance among neighbours that is the explainer's own noise.

    0 for a deterministic explainer, 1 for one that only draws numbers. NaN where the map does not
    vary at all. Costs `n_draws * n_repeats` explanations, shared with the input sensitivity.
    """

    category: ClassVar[str] = "stability"
    higher_is_better: ClassVar[bool] = False
    paper: ClassVar[str] = "Searle+ 1992, Variance Components (one less intraclass correlation)"
    radius: float = 0.1
    n_draws: int = 10
    n_repeats: int = 2

    def score(self, case: Case) -> Tensor:
        """`[B]`, from 0 to 1."""
        variances = case.measure(RepeatedNeighbours(self.radius, self.n_draws, self.n_repeats))
        # Added up over elements first: shares of single elements would divide by next to nothing.
        noise, signal = (total(part.flatten(1)) for part in (variances.noise, variances.input))
        return noise / (noise + signal.clamp(min=0))
