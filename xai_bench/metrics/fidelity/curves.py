"""Removal curves, normalised: by the output, up to a share of the units, by the best order.

All remove the units of the highest signed attribution first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xai_bench.core import coalitions, units
from xai_bench.metrics.common import pooled, total
from xai_bench.metrics.correlation import rounding
from xai_bench.metrics.eight_units import HIGHEST_AREA, LOWEST_AREA, MEAN_UNIT, OUTPUT
from xai_bench.metrics.probes.removal.beam import BeamBounds
from xai_bench.metrics.probes.removal.curves import RemovalCurves, counts
from xai_bench.metrics.probes.removal.exact import AllCoalitions
from xai_bench.metrics.probes.removal.orders import OrderBounds
from xai_bench.types import Baseline, Case, KnownScores


@dataclass(frozen=True)
class AOPC:
    """Mean drop of the target output while the most important units are removed first.

    The output at x less the deletion area, so it orders the maps of one sample as deletion does.
    """

    category: ClassVar[str] = "fidelity"
    higher_is_better: ClassVar[bool] = True
    paper: ClassVar[str] = "Samek+ 2017, arXiv:1509.06321"
    version: ClassVar[int] = 2
    known_scores: ClassVar[KnownScores] = KnownScores(
        exact=OUTPUT - LOWEST_AREA, opposite=OUTPUT - HIGHEST_AREA, random=OUTPUT / 2
    )
    baseline: Baseline

    def score(self, case: Case) -> Tensor:
        """`[B]`, in units of the output."""
        # The paper's mean over steps, as an area by trapezoids: it does not depend on their number.
        curves = case.measure(RemovalCurves(self.baseline))
        return curves.most_first[:, 0] - curves.area(curves.most_first)


@dataclass(frozen=True)
class RegionPerturbation:
    """Mean drop of the target output while the first `fraction` of all units is removed.

    The early part of the curve, where the input still resembles the data. `fraction` has to be one
    of the curve's grid.
    """

    category: ClassVar[str] = "fidelity"
    higher_is_better: ClassVar[bool] = True
    paper: ClassVar[str] = "Samek+ 2017, arXiv:1509.06321"
    # Three of eight units are 30 %: trapezoids under drops of 0, 8, 15, 21 or of 0, 1, 3, 6.
    known_scores: ClassVar[KnownScores] = KnownScores(
        exact=(8 + 15 + 21 / 2) / 3,
        opposite=(1 + 3 + 6 / 2) / 3,
        random=MEAN_UNIT * (1 + 2 + 3 / 2) / 3,
    )
    baseline: Baseline
    fraction: float = 0.3

    def score(self, case: Case) -> Tensor:
        """`[B]`, in units of the output."""
        curves = case.measure(RemovalCurves(self.baseline))
        last = counts(curves.n_units, (self.fraction,))
        # Points beyond the last one all lie on it, so that trapezoids there have no width.
        removed, curve = torch.minimum(curves.removed, last), curves.most_first
        drop = curve[:, 0] - torch.trapezoid(curve, removed, dim=1) / last[:, 0]
        return torch.where(last[:, 0] > 0, drop, torch.nan)


@dataclass(frozen=True)
class IROF:
    """Mean drop of the target output, relative to the output at x, most important units first.

    For outputs that are positive, such as probabilities: NaN where the output at x is not, or is
    less than `floor` times its drop without any unit, which a ratio would blow up.
    """

    category: ClassVar[str] = "fidelity"
    higher_is_better: ClassVar[bool] = True
    paper: ClassVar[str] = "Rieger & Hansen 2020, arXiv:2003.08747"
    version: ClassVar[int] = 2
    known_scores: ClassVar[KnownScores] = KnownScores(
        exact=1 - LOWEST_AREA / OUTPUT, opposite=1 - HIGHEST_AREA / OUTPUT, random=1 / 2
    )
    baseline: Baseline
    floor: float = 0.01

    def score(self, case: Case) -> Tensor:
        """`[B]`, without a unit; 1 where the output falls to 0 at once."""
        curves = case.measure(RemovalCurves(self.baseline))
        intact, empty = curves.most_first[:, 0], curves.most_first[:, -1]
        # A ratio to an output near 0 would outweigh all other samples of the mean.
        scored = (intact > 0) & (intact >= self.floor * (intact - empty).abs())
        return torch.where(scored, 1 - curves.area(curves.most_first) / intact, torch.nan)


@dataclass(frozen=True)
class Selectivity:
    """Area under the target output while units are removed one by one, most important first.

    Deletion without its grid: up to `max_steps` units are removed one by one, more units in groups
    of about equal size. Costs `1 + R * (2 * min(U, max_steps) - 1)` rows for both orders.
    """

    category: ClassVar[str] = "fidelity"
    higher_is_better: ClassVar[bool] = False
    paper: ClassVar[str] = "Montavon+ 2018, arXiv:1706.07979"
    version: ClassVar[int] = 2
    known_scores: ClassVar[KnownScores] = KnownScores(
        exact=LOWEST_AREA, opposite=HIGHEST_AREA, random=OUTPUT / 2
    )
    baseline: Baseline
    max_steps: int = 64

    def score(self, case: Case) -> Tensor:
        """`[B]`, in units of the output."""
        # Shares of 1 / max_steps: with fewer units than that, the grid holds every number of units.
        steps = tuple(step / self.max_steps for step in range(1, self.max_steps))
        curves = case.measure(RemovalCurves(self.baseline, steps))
        return curves.area(curves.most_first)


@dataclass(frozen=True)
class NormalisedAOPC:
    """Where the AOPC of the map's order lies between that of the worst order, 0, and the best, 1.

    Both bounds are exact over all orders, so that scores compare across samples and models. NaN
    where all orders are the same but for rounding. Costs `2^U * R` rows, shared with the exact
    Shapley values; unsupported beyond `max_units`.
    """

    category: ClassVar[str] = "fidelity"
    higher_is_better: ClassVar[bool] = True
    paper: ClassVar[str] = "Edin+ 2024, arXiv:2408.08137"
    known_scores: ClassVar[KnownScores] = KnownScores(exact=1, opposite=0, random=1 / 2)
    baseline: Baseline
    max_units: int = 12

    def score(self, case: Case) -> Tensor:
        """`[B]`, from 0 to 1."""
        table = case.measure(AllCoalitions(self.baseline, self.max_units))
        bounds = case.measure(OrderBounds(self.baseline, self.max_units))
        own = _sum_of_outputs(case, table)
        room = bounds.highest - bounds.lowest
        # Each bound is a sum of up to U outputs, each off by rounding.
        floor = rounding(case) * table.abs().amax(1) * units.count(case.inputs.units)
        return torch.where(room > floor, (bounds.highest - own) / room, torch.nan)


@dataclass(frozen=True)
class NormalisedAOPCBeam:
    """Normalised AOPC whose best and worst orders are found by beam search, for more units.

    Below 0 or above 1 where a map beats the search. NaN where both orders are the same but for
    rounding; unsupported beyond `max_units`. The bounds cost at most `width * U * (U + 1) * R` rows
    for all explainers together, the map's own order `U * R` more.
    """

    category: ClassVar[str] = "fidelity"
    higher_is_better: ClassVar[bool] = True
    paper: ClassVar[str] = "Edin+ 2024, arXiv:2408.08137"
    known_scores: ClassVar[KnownScores] = KnownScores(exact=1, opposite=0, random=1 / 2)
    baseline: Baseline
    width: int = 5
    max_units: int = 64

    def score(self, case: Case) -> Tensor:
        """`[B]`, from about 0 to 1."""
        bounds = case.measure(BeamBounds(self.baseline, self.width, self.max_units))
        kept, counted = _map_order(case)
        # The same stream as the bounds', so that random references are the same, too.
        rng = case.rng.child("removal_curves")
        values = coalitions.values(
            case.model, case.inputs, case.targets, kept, self.baseline, rng=rng
        )
        own = total(torch.where(counted, values, 0))
        room = bounds.highest - bounds.lowest
        size = torch.maximum(bounds.highest.abs(), bounds.lowest.abs())
        return torch.where(room > rounding(case) * size, (bounds.highest - own) / room, torch.nan)


def _sum_of_outputs(case: Case, table: Tensor) -> Tensor:
    """`[B]`: the outputs left after each removal but the last, in the map's order, added up."""
    kept, counted = _map_order(case)
    # Row k of the table is the coalition whose units are the bits of k.
    row = (kept * 2 ** torch.arange(kept.shape[2])).sum(2)
    return total(torch.where(counted, table.gather(1, row), 0))


def _map_order(case: Case) -> tuple[Tensor, Tensor]:
    """The coalitions that the map's order leaves, most important units removed first.

    `[B, U, U]` bool, what is kept after 1, 2, ... removals; `[B, U]` bool, which of these leave any
    unit of the sample.
    """
    real = units.present(case.inputs.units)
    rng = case.rng.child("removal_curves")
    rank = units.ranking(pooled(case), case.inputs.units, rng=rng)
    removed = torch.arange(1, rank.shape[1] + 1)
    # Padding has the last ranks and would else count as kept.
    kept = (rank[:, None] >= removed[:, None]) & real[:, None]
    return kept, removed < units.count(case.inputs.units)[:, None]
