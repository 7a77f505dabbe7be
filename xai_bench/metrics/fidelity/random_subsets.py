"""How well a map predicts the output drops that removing random sets of units causes.

All read the same random sets, which are removed once for all explainers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xai_bench.metrics.common import contributions, mean
from xai_bench.metrics.correlation import rounding, set_correlation
from xai_bench.metrics.eight_units import MEAN_UNIT, VARIANCE
from xai_bench.metrics.probes.removal.random_subsets import CoalitionValues, Drops
from xai_bench.types import Baseline, Case, KnownScores


@dataclass(frozen=True)
class FaithfulnessCorrelation:
    """Pearson correlation of attribution removed with output drop, over random sets of units.

    NaN where either varies by no more than rounding, as for a map that is the same everywhere.
    """

    category: ClassVar[str] = "fidelity"
    higher_is_better: ClassVar[bool] = True
    paper: ClassVar[str] = "Bhatt+ 2020, arXiv:2005.00631"
    permutation_invariant: ClassVar[bool] = False
    known_scores: ClassVar[KnownScores] = KnownScores(exact=1, opposite=-1, random=0)
    baseline: Baseline
    n_draws: int = 100
    fraction: float = 0.2

    def score(self, case: Case) -> Tensor:
        """`[B]`, from -1 to 1."""
        drops = case.measure(CoalitionValues(self.baseline, self.n_draws, self.fraction))
        return set_correlation(case, drops)


@dataclass(frozen=True)
class Infidelity:
    """Mean squared error of the output drop that the map predicts, over random sets of units.

    A contribution predicts the sum over what was removed; a sensitivity, the product with the
    change of the input; other kinds predict nothing and are unsupported. In squared units of the
    output, so the size of a map counts: the zero map scores the mean squared drop.
    """

    category: ClassVar[str] = "fidelity"
    higher_is_better: ClassVar[bool] = False
    paper: ClassVar[str] = "Yeh+ 2019, arXiv:1901.09392"
    scale_invariant: ClassVar[bool] = False
    permutation_invariant: ClassVar[bool] = False
    # Two of eight units: the mean drop squared, its variance (without replacement), and the
    # variance of a sum of two of the map's own numbers.
    known_scores: ClassVar[KnownScores] = KnownScores(
        exact=0, random=(2 * MEAN_UNIT) ** 2 + 2 * VARIANCE * 6 / 7 + 2
    )
    baseline: Baseline
    n_draws: int = 100
    fraction: float = 0.2

    def score(self, case: Case) -> Tensor:
        """`[B]`, in squared units of the output."""
        drops = case.measure(CoalitionValues(self.baseline, self.n_draws, self.fraction))
        # As it stands in the paper. The authors' code scales each map first: `InfidelityScaled`.
        return mean((_predicted(case, drops) - drops.drop).square())


@dataclass(frozen=True)
class InfidelityScaled:
    """Infidelity after each map is multiplied by the number that makes it smallest.

    So the size and the sign of a map do not count. In squared units of the output; a map of zeros
    scores the mean squared drop.
    """

    category: ClassVar[str] = "fidelity"
    higher_is_better: ClassVar[bool] = False
    paper: ClassVar[str] = "Yeh+ 2019, arXiv:1901.09392"
    sign_invariant: ClassVar[bool] = True
    permutation_invariant: ClassVar[bool] = False
    # Any factor is free, the sign too.
    known_scores: ClassVar[KnownScores] = KnownScores(exact=0, opposite=0)
    baseline: Baseline
    n_draws: int = 100
    fraction: float = 0.2

    def score(self, case: Case) -> Tensor:
        """`[B]`, in squared units of the output."""
        drops = case.measure(CoalitionValues(self.baseline, self.n_draws, self.fraction))
        predicted = _predicted(case, drops)
        # The least squares factor of a line through the origin.
        size = predicted.square().sum(1)
        factor = torch.where(size > 0, (predicted * drops.drop).sum(1) / size, 0)
        return (factor[:, None] * predicted - drops.drop).square().mean(1)


@dataclass(frozen=True)
class SurrogateR2:
    """Share of the variance of the output, near x, that the map as an additive model explains.

    Near x means with a random `fraction` of the units removed; the additive model is the output at
    x less the attributions of what was removed. 1 is best, below 0 is worse than a constant. NaN
    where the output varies by no more than rounding.
    """

    category: ClassVar[str] = "fidelity"
    higher_is_better: ClassVar[bool] = True
    paper: ClassVar[str] = "Ribeiro+ 2016, arXiv:1602.04938 (local fidelity)"
    scale_invariant: ClassVar[bool] = False
    permutation_invariant: ClassVar[bool] = False
    known_scores: ClassVar[KnownScores] = KnownScores(exact=1)
    baseline: Baseline
    n_draws: int = 100
    fraction: float = 0.2

    def score(self, case: Case) -> Tensor:
        """`[B]`, at most 1."""
        drops = case.measure(CoalitionValues(self.baseline, self.n_draws, self.fraction))
        error = mean((_predicted(case, drops) - drops.drop).square())
        # Around the mean drop of the same sets: 0 is what the best constant reaches.
        variance = mean((drops.drop - mean(drops.drop)[:, None]).square())
        size = torch.maximum(drops.intact.abs(), drops.drop.abs().amax(1))
        varies = drops.drop.amax(1) - drops.drop.amin(1) > rounding(case) * size
        return torch.where(varies, 1 - error / variance, torch.nan)


@dataclass(frozen=True)
class SensitivityN:
    """Faithfulness correlation at `n_sizes` evenly spaced sizes of the random sets, averaged.

    Sizes at which the map or the output does not vary are left out; NaN where none is left. Costs
    `1 + n_draws * R` rows per size.
    """

    category: ClassVar[str] = "fidelity"
    higher_is_better: ClassVar[bool] = True
    paper: ClassVar[str] = "Ancona+ 2018, arXiv:1711.06104"
    permutation_invariant: ClassVar[bool] = False
    known_scores: ClassVar[KnownScores] = KnownScores(exact=1, opposite=-1, random=0)
    baseline: Baseline
    n_draws: int = 100
    n_sizes: int = 4

    def score(self, case: Case) -> Tensor:
        """`[B]`, from -1 to 1."""
        # Neither nothing nor everything: all sets of no unit are the same, and all of every unit.
        fractions = [size / (self.n_sizes + 1) for size in range(1, self.n_sizes + 1)]
        probes = [CoalitionValues(self.baseline, self.n_draws, f) for f in fractions]
        # One correlation per size: over all sizes together, larger sets alone would make one.
        correlations = [set_correlation(case, case.measure(probe)) for probe in probes]
        return torch.stack(correlations, dim=1).nanmean(1)


def _predicted(case: Case, drops: Drops) -> Tensor:
    """`[B, K]`: the output drop that the map predicts for each set, in units of the output."""
    return drops.total_removed(contributions(case, drops.difference_from_reference))
