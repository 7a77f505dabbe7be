"""Whether the map agrees with what each unit does on its own.

The first four read one measurement of all single removals, shared by all explainers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xai_bench.core import units
from xai_bench.metrics.common import pooled, total
from xai_bench.metrics.correlation import kendall, pearson, rounding, spearman
from xai_bench.metrics.probes.removal.addition import AdditionPath
from xai_bench.metrics.probes.removal.single_units import LeaveOneOut, RemoveAll, SingleDrops
from xai_bench.types import Baseline, Case, KnownScores, Unsupported


@dataclass(frozen=True)
class FaithfulnessEstimate:
    """Pearson correlation of each unit's attribution with the output drop when it is removed.

    Chance is 0. NaN where either varies by no more than rounding. Costs `1 + U * R` rows.
    """

    category: ClassVar[str] = "fidelity"
    higher_is_better: ClassVar[bool] = True
    paper: ClassVar[str] = "Alvarez-Melis & Jaakkola 2018, arXiv:1806.07538"
    known_scores: ClassVar[KnownScores] = KnownScores(exact=1, opposite=-1, random=0)
    baseline: Baseline

    def score(self, case: Case) -> Tensor:
        """`[B]`, from -1 to 1."""
        singles = case.measure(LeaveOneOut(self.baseline))
        attribution, real = pooled(case), units.present(case.inputs.units)
        floor = rounding(case) * attribution.abs().amax(1)
        return pearson(attribution, singles.drop, real, floor, _floor(case, singles))


@dataclass(frozen=True)
class TauLOO:
    """Kendall's tau-b between the attributions and the output drops of single removals.

    Drops that differ by rounding only are ties. Chance is 0. NaN where either side is all ties.
    Circular for explainers that remove single units themselves. Costs `1 + U * R` rows.
    """

    category: ClassVar[str] = "fidelity"
    higher_is_better: ClassVar[bool] = True
    paper: ClassVar[str] = "Jain & Wallace 2019, arXiv:1902.10186"
    known_scores: ClassVar[KnownScores] = KnownScores(exact=1, opposite=-1, random=0)
    baseline: Baseline

    def score(self, case: Case) -> Tensor:
        """`[B]`, from -1 to 1."""
        singles = case.measure(LeaveOneOut(self.baseline))
        real = units.present(case.inputs.units)
        return kendall(pooled(case), singles.drop, real, _floor(case, singles))


@dataclass(frozen=True)
class MonotonicityCorrelation:
    """Spearman correlation of a unit's magnitude with the mean square of the output's change.

    The unit takes its value from each reference of the baseline in turn, so a baseline of many
    draws estimates the paper's expectation. Blind to signs. Chance is 0. NaN where either side has
    one value only; a change within rounding counts as none. Costs `1 + U * R` rows.
    """

    category: ClassVar[str] = "fidelity"
    higher_is_better: ClassVar[bool] = True
    paper: ClassVar[str] = "Nguyen & Martínez 2020, arXiv:2007.07584"
    sign_invariant: ClassVar[bool] = True
    known_scores: ClassVar[KnownScores] = KnownScores(exact=1, opposite=1, random=0)
    baseline: Baseline

    def score(self, case: Case) -> Tensor:
        """`[B]`, from -1 to 1."""
        singles = case.measure(LeaveOneOut(self.baseline))
        # Changes within rounding become ties at 0, which share their mean rank.
        changes = singles.squared > _floor(case, singles).square()[:, None]
        squared = torch.where(changes, singles.squared, 0)
        return spearman(pooled(case).abs(), squared, units.present(case.inputs.units))


@dataclass(frozen=True)
class NonSensitivity:
    """Share of units that are irrelevant by the map and not by the model, or the other way round.

    By the map a unit is irrelevant below `tolerance` times its largest magnitude; by the model,
    where the root mean square change without it is below `tolerance` times the largest such change,
    or within rounding. A unit that equals its references looks like an unused one. 0 is best, and
    common where everything matters. Costs `1 + U * R` rows.
    """

    category: ClassVar[str] = "fidelity"
    higher_is_better: ClassVar[bool] = False
    paper: ClassVar[str] = "Nguyen & Martínez 2020, arXiv:2007.07584"
    sign_invariant: ClassVar[bool] = True
    # Every unit matters, so all maps without zeros are right.
    known_scores: ClassVar[KnownScores] = KnownScores(exact=0, opposite=0, random=0)
    baseline: Baseline
    tolerance: float = 1e-5

    def score(self, case: Case) -> Tensor:
        """`[B]`, from 0 to 1."""
        singles = case.measure(LeaveOneOut(self.baseline))
        size, change = pooled(case).abs(), singles.squared.sqrt()
        # Both sides relative to their own largest, since map and output need not share a unit.
        floor = torch.maximum(self.tolerance * change.amax(1), _floor(case, singles))
        relevant_by_map = size > self.tolerance * size.amax(1, keepdim=True)
        relevant_by_model = change > floor[:, None]
        differ = (relevant_by_map != relevant_by_model) & units.present(case.inputs.units)
        return differ.sum(1) / units.count(case.inputs.units).double()


@dataclass(frozen=True)
class Monotonicity:
    """Share of steps that change the output at least as much as the step before.

    At each step a unit is put back, in increasing order of magnitude: up to `max_steps` units one
    by one, more units in groups of about equal size, over which the change is spread evenly. Blind
    to signs. Chance is 1/2. NaN with fewer than two steps, and where the output never changes by
    more than rounding. Costs `1 + R * min(U, max_steps)` rows.
    """

    category: ClassVar[str] = "fidelity"
    higher_is_better: ClassVar[bool] = True
    paper: ClassVar[str] = "Arya+ 2019, arXiv:1909.03012; Luss+ 2019, arXiv:1905.12698"
    sign_invariant: ClassVar[bool] = True
    known_scores: ClassVar[KnownScores] = KnownScores(exact=1, opposite=1, random=1 / 2)
    baseline: Baseline
    max_steps: int = 32

    def score(self, case: Case) -> Tensor:
        """`[B]`, from 0 to 1."""
        path = case.measure(AdditionPath(self.baseline, self.max_steps))
        floor = rounding(case) * path.values.abs().amax(1)
        added = path.added.diff(dim=1)
        # Per unit: groups may differ by one in size.
        change = path.values.diff(dim=1).abs() / added.clamp(min=1)
        # A sample with fewer steps than others ends with steps that add nothing.
        is_step = added[:, 1:] > 0
        # In the order in which units came back, which alone is the claim. Equal steps count as
        # growth, and so do those that only rounding makes smaller.
        grows = (change[:, 1:] >= change[:, :-1] - floor[:, None]) & is_step
        flat = (change <= floor[:, None]).all(1)
        return torch.where(flat, torch.nan, grows.sum(1) / is_step.sum(1).double())


@dataclass(frozen=True)
class CompletenessGap:
    """Distance of the sum of all attributions from the output drop without any unit, over the drop.

    0 where a map is complete; 1 for a map of zeros. Contributions only. NaN where the drop is
    within rounding. Costs `1 + R` rows.
    """

    category: ClassVar[str] = "fidelity"
    higher_is_better: ClassVar[bool] = False
    paper: ClassVar[str] = "Sundararajan+ 2017, arXiv:1703.01365"
    scale_invariant: ClassVar[bool] = False
    # The sum of eight normal numbers is never as large as 36, so its mean is all that counts.
    known_scores: ClassVar[KnownScores] = KnownScores(exact=0, opposite=2, random=1)
    baseline: Baseline

    def score(self, case: Case) -> Tensor:
        """`[B]`, 0 or more."""
        if case.kind != "contribution":
            raise Unsupported(f"attributions of kind '{case.kind}' do not add up to anything")
        all_units = case.measure(RemoveAll(self.baseline))
        # The drop is a difference of two outputs, whose sizes say how exact it is.
        empty = all_units.intact - all_units.drop
        floor = rounding(case) * torch.maximum(all_units.intact.abs(), empty.abs())
        # Relative, and a number: an equality of floats holds for no map at all.
        gap = (total(pooled(case)) - all_units.drop).abs() / all_units.drop.abs()
        return torch.where(all_units.drop.abs() > floor, gap, torch.nan)


def _floor(case: Case, singles: SingleDrops) -> Tensor:
    """`[B]`: the largest drop that may be rounding."""
    return rounding(case) * torch.maximum(singles.intact.abs(), singles.drop.abs().amax(1))
