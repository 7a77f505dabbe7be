"""Fidelity without a cut between what is important and what is not: every unit counts by degree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xai_bench.core import coalitions, units
from xai_bench.metrics.common import pooled
from xai_bench.metrics.correlation import rounding
from xai_bench.metrics.eight_units import OUTPUT
from xai_bench.metrics.probes.removal.blending import Masked
from xai_bench.types import Baseline, Case, KnownScores


@dataclass(frozen=True)
class SoftComprehensiveness:
    """Mean drop of the target output when each unit is removed with a chance that grows with its
    attribution: 0 for the lowest of the sample, 1 for the highest, linear between.

    NaN for a map that is the same everywhere. Costs `1 + n_draws * R` rows.
    """

    category: ClassVar[str] = "fidelity"
    higher_is_better: ClassVar[bool] = True
    paper: ClassVar[str] = "Zhao & Aletras 2023, arXiv:2305.10496"
    permutation_invariant: ClassVar[bool] = False
    best_per_sample: ClassVar[bool] = False
    known_scores: ClassVar[KnownScores] = KnownScores(random=OUTPUT / 2)
    baseline: Baseline
    n_draws: int = 20

    def score(self, case: Case) -> Tensor:
        return _mean_drop(case, self.baseline, ~_chosen(case, self.n_draws))


@dataclass(frozen=True)
class SoftSufficiency:
    """Mean drop of the target output when each unit is kept with a chance that grows with its
    attribution: 0 for the lowest of the sample, 1 for the highest, linear between.

    Meets the same draws as soft comprehensiveness. NaN for a map that is the same everywhere. Costs
    `1 + n_draws * R` rows.
    """

    category: ClassVar[str] = "fidelity"
    higher_is_better: ClassVar[bool] = False
    paper: ClassVar[str] = "Zhao & Aletras 2023, arXiv:2305.10496"
    permutation_invariant: ClassVar[bool] = False
    best_per_sample: ClassVar[bool] = False
    known_scores: ClassVar[KnownScores] = KnownScores(random=OUTPUT / 2)
    baseline: Baseline
    n_draws: int = 20

    def score(self, case: Case) -> Tensor:
        return _mean_drop(case, self.baseline, _chosen(case, self.n_draws))


@dataclass(frozen=True)
class AverageDrop:
    """Loss of the class's probability, as a share of it, when units fade by their magnitude.

    The most important unit stays, the least gives way to the baseline, the others blend. A gain
    counts 0. Blind to signs. Classifiers only. NaN for a map of one magnitude. Costs `1 + R` rows.
    """

    category: ClassVar[str] = "fidelity"
    higher_is_better: ClassVar[bool] = False
    paper: ClassVar[str] = "Chattopadhyay+ 2018, arXiv:1710.11063"
    sign_invariant: ClassVar[bool] = True
    known_scores: ClassVar[KnownScores] = KnownScores()  # eight units are no classifier
    baseline: Baseline

    def score(self, case: Case) -> Tensor:
        seen = case.measure(Masked(self.baseline))
        return (seen.intact - seen.masked).clamp(min=0) / seen.intact


@dataclass(frozen=True)
class AverageIncrease:
    """1 where the class's probability rises when units fade by their magnitude, else 0.

    A rise within rounding is none. Blind to signs. Classifiers only. NaN for a map of one
    magnitude. Costs `1 + R` rows, shared with the average drop.
    """

    category: ClassVar[str] = "fidelity"
    higher_is_better: ClassVar[bool] = True
    paper: ClassVar[str] = "Chattopadhyay+ 2018, arXiv:1710.11063"
    sign_invariant: ClassVar[bool] = True
    known_scores: ClassVar[KnownScores] = KnownScores()  # eight units are no classifier
    baseline: Baseline

    def score(self, case: Case) -> Tensor:
        seen = case.measure(Masked(self.baseline))
        gain = seen.masked - seen.intact
        return torch.where(gain.isnan(), torch.nan, (gain > rounding(case)).double())


@dataclass(frozen=True)
class AverageGain:
    """Rise of the class's probability, as a share of what is left to 1, when units fade.

    A loss counts 0. Blind to signs. Classifiers only. NaN for a map of one magnitude and where the
    probability is 1 but for rounding. Costs `1 + R` rows, shared with the average drop.
    """

    category: ClassVar[str] = "fidelity"
    higher_is_better: ClassVar[bool] = True
    paper: ClassVar[str] = "Zhang+ 2024, arXiv:2301.07002"
    sign_invariant: ClassVar[bool] = True
    known_scores: ClassVar[KnownScores] = KnownScores()  # eight units are no classifier
    baseline: Baseline

    def score(self, case: Case) -> Tensor:
        seen = case.measure(Masked(self.baseline))
        gain = (seen.masked - seen.intact).clamp(min=0) / (1 - seen.intact)
        return torch.where(1 - seen.intact > rounding(case), gain, torch.nan)


def _chosen(case: Case, n_draws: int) -> Tensor:
    """`[B, K, U]` bool: the units drawn, each with its own chance."""
    chance = units.min_max(pooled(case), case.inputs.units)
    draws = case.rng.child("soft").uniform(n_draws, chance.shape[1])
    return draws < chance[:, None]


def _mean_drop(case: Case, baseline: Baseline, kept: Tensor) -> Tensor:
    model, inputs, rng = case.model, case.inputs, case.rng.child("soft")
    values = coalitions.values(model, inputs, case.targets, kept, baseline, rng=rng)
    intact = coalitions.values_at(model, inputs, case.targets, inputs.x[:, None])
    varies = ~units.min_max(pooled(case), inputs.units)[:, 0].isnan()
    return torch.where(varies, (intact - values).mean(1), torch.nan)
