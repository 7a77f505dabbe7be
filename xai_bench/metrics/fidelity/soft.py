"""Fidelity without a threshold between important and unimportant: units are removed by degree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xai_bench.core import coalitions, units
from xai_bench.metrics.common import pooled
from xai_bench.metrics.correlation import rounding
from xai_bench.metrics.eight_units import OUTPUT
from xai_bench.metrics.probes.removal.blending import Faded
from xai_bench.types import Baseline, Case, KnownScores

SHARE = 0.3
"""Mean probability of a unit, by default."""
_WIDEST = 12.0
"""The largest logarithm of a power: with more, 0.9999 is as good as 0 and 0.0001 as good as 1."""


@dataclass(frozen=True)
class _SoftRemoval:
    """What both metrics of random removal state and can be set to.

    Attributes:
        share: the mean probability of the units, to which every map is rescaled.
    """

    permutation_invariant: ClassVar[bool] = False
    best_per_sample: ClassVar[bool] = False
    version: ClassVar[int] = 2
    baseline: Baseline
    n_draws: int = 20
    share: float = SHARE


@dataclass(frozen=True)
class SoftComprehensiveness(_SoftRemoval):
    """Mean drop of the target output when units are removed at random, important ones most often.

    The probability of each unit is its attribution, scaled to 0 for the lowest of the sample and 1
    for the highest, and raised to the power at which the mean probability is `share`: so no map
    gains by removing more, and a power of the scaled map has the same score. Where no power gives
    that mean, as with few units, the nearest. NaN for a map that is the same everywhere. Costs
    `1 + n_draws * R` rows. Zhao & Aletras 2023, with the fixed share of arXiv:2601.03089.
    """

    category: ClassVar[str] = "fidelity"
    higher_is_better: ClassVar[bool] = True
    paper: ClassVar[str] = "Zhao & Aletras 2023, arXiv:2305.10496; share: arXiv:2601.03089"
    known_scores: ClassVar[KnownScores] = KnownScores(random=OUTPUT * SHARE)

    def score(self, case: Case) -> Tensor:
        """`[B]`, in units of the output."""
        return _mean_drop(case, self.baseline, ~_selected(case, self.n_draws, self.share))


@dataclass(frozen=True)
class SoftSufficiency(_SoftRemoval):
    """Mean drop of the target output when units are kept at random, important ones most often.

    Probabilities and draws are those of soft comprehensiveness. NaN for a map that is the same
    everywhere. Costs `1 + n_draws * R` rows.
    """

    category: ClassVar[str] = "fidelity"
    higher_is_better: ClassVar[bool] = False
    paper: ClassVar[str] = "Zhao & Aletras 2023, arXiv:2305.10496; share: arXiv:2601.03089"
    known_scores: ClassVar[KnownScores] = KnownScores(random=OUTPUT * (1 - SHARE))

    def score(self, case: Case) -> Tensor:
        """`[B]`, in units of the output."""
        return _mean_drop(case, self.baseline, _selected(case, self.n_draws, self.share))


@dataclass(frozen=True)
class _Fading:
    """What the metrics of fading units state and can be set to."""

    sign_invariant: ClassVar[bool] = True
    # Eight units are no classifier.
    known_scores: ClassVar[KnownScores] = KnownScores()
    baseline: Baseline


@dataclass(frozen=True)
class AverageDrop(_Fading):
    """Relative loss of the class's probability when units fade into the baseline by magnitude.

    The most important unit stays as it is, the least important one becomes the baseline, the others
    are blends. A gain counts 0. Blind to signs. Classifiers only. NaN for a map of one magnitude.
    Costs `1 + R` rows.
    """

    category: ClassVar[str] = "fidelity"
    higher_is_better: ClassVar[bool] = False
    paper: ClassVar[str] = "Chattopadhyay+ 2018, arXiv:1710.11063"

    def score(self, case: Case) -> Tensor:
        """`[B]`, from 0 to 1."""
        faded = case.measure(Faded(self.baseline))
        return (faded.intact - faded.faded).clamp(min=0) / faded.intact


@dataclass(frozen=True)
class AverageIncrease(_Fading):
    """1 where the class's probability rises when units fade by their magnitude, else 0.

    A rise within rounding counts as none. Blind to signs. Classifiers only. NaN for a map of one
    magnitude. Costs `1 + R` rows, shared with the average drop.
    """

    category: ClassVar[str] = "fidelity"
    higher_is_better: ClassVar[bool] = True
    paper: ClassVar[str] = "Chattopadhyay+ 2018, arXiv:1710.11063"

    def score(self, case: Case) -> Tensor:
        """`[B]`, 0 or 1."""
        faded = case.measure(Faded(self.baseline))
        gain = faded.faded - faded.intact
        return torch.where(gain.isnan(), torch.nan, (gain > rounding(case)).double())


@dataclass(frozen=True)
class AverageGain(_Fading):
    """Rise of the class's probability when units fade, as a share of the largest possible rise.

    A loss counts 0. Blind to signs. Classifiers only. NaN for a map of one magnitude and where the
    probability is 1 but for rounding. Costs `1 + R` rows, shared with the average drop.
    """

    category: ClassVar[str] = "fidelity"
    higher_is_better: ClassVar[bool] = True
    paper: ClassVar[str] = "Zhang+ 2024, arXiv:2301.07002"

    def score(self, case: Case) -> Tensor:
        """`[B]`, from 0 to 1."""
        faded = case.measure(Faded(self.baseline))
        # Over what is left to gain, as average drop is over what is there to lose.
        gain = (faded.faded - faded.intact).clamp(min=0) / (1 - faded.intact)
        return torch.where(1 - faded.intact > rounding(case), gain, torch.nan)


def _selected(case: Case, n_draws: int, share: float) -> Tensor:
    """`[B, K, U]` bool: the units that each draw selects, each with its own probability."""
    scaled = units.min_max(pooled(case), case.inputs.units)
    probability = with_mean(scaled, units.count(case.inputs.units), share)
    # Uniform draws are compared with the probabilities, so that all maps get the same draws.
    draws = case.rng.child("soft").uniform(n_draws, probability.shape[1])
    return draws < probability[:, None]


def with_mean(scaled: Tensor, n_units: Tensor, share: float) -> Tensor:
    """`scaled [B, U]` from 0 to 1, `n_units [B] -> [B, U]`: raised to the power at which a
    sample's mean is `share`, or as near as a power comes.
    """
    low = torch.full_like(n_units, -_WIDEST, dtype=torch.float64)[:, None]
    high = -low
    for _ in range(60):  # bisection of the power's logarithm: the mean falls as it grows
        middle = (low + high) / 2
        mean = (scaled ** middle.exp()).sum(1, keepdim=True) / n_units[:, None]
        low, high = torch.where(mean > share, middle, low), torch.where(mean > share, high, middle)
    return scaled ** high.exp()


def _mean_drop(case: Case, baseline: Baseline, kept: Tensor) -> Tensor:
    """`kept [B, K, U] -> [B]`; NaN for a map that is the same everywhere."""
    model, inputs, rng = case.model, case.inputs, case.rng.child("soft")
    values = coalitions.values(model, inputs, case.targets, kept, baseline, rng=rng)
    intact = coalitions.values_at(model, inputs, case.targets, inputs.x[:, None])
    varies = ~units.min_max(pooled(case), inputs.units)[:, 0].isnan()
    return torch.where(varies, (intact - values).mean(1), torch.nan)
