"""How much of an explanation a reader has to take in.

A simple map may be wrong: read complexity beside fidelity.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xai_bench.core import units
from xai_bench.metrics.common import pooled, total
from xai_bench.metrics.probes.removal.curves import FRACTIONS, RemovalCurves
from xai_bench.types import Baseline, Case


@dataclass(frozen=True)
class Entropy:
    """Entropy of the units' shares of absolute attribution, in nats: 0 to `ln U`.

    NaN for a map of zeros.
    """

    category: ClassVar[str] = "complexity"
    higher_is_better: ClassVar[bool] = False
    paper: ClassVar[str] = "Bhatt+ 2020, arXiv:2005.00631"

    def score(self, case: Case) -> Tensor:
        """`[B]`, from 0 to `ln U`."""
        size = pooled(case).abs()
        # 0 log 0 is 0; a map of zeros divides 0 by 0, which gives the NaN that it should. Not
        # divided by `ln U`, as in the paper: maps of one sample have as many units.
        return total(torch.special.entr(size / total(size)[:, None]))


@dataclass(frozen=True)
class Gini:
    """Gini index of the units' absolute attributions: 0 where all are equal, to `1 - 1/U`.

    NaN for a map of zeros.
    """

    category: ClassVar[str] = "complexity"
    higher_is_better: ClassVar[bool] = True
    paper: ClassVar[str] = "Chalasani+ 2020, arXiv:1810.06583"

    def score(self, case: Case) -> Tensor:
        """`[B]`, from 0 to `1 - 1/U`."""
        largest_first = pooled(case).abs().sort(dim=1, descending=True).values
        n_units = units.count(case.inputs.units)
        # G = sum_k (U + 1 - 2k) a_k / (U sum a), the largest first; padding adds zeros only.
        place = torch.arange(1, largest_first.shape[1] + 1)
        weight = n_units[:, None] + 1 - 2 * place
        return total(weight * largest_first) / (n_units * total(largest_first))


@dataclass(frozen=True)
class EffectiveComplexity:
    """The smallest share of units that, kept alone, gives nearly the whole output.

    Units are kept from the top of the signed ranking, in the steps of the removal curves. Nearly
    means off by at most `tolerance` of the change of the output when everything is removed. NaN for
    a map of zeros, and where removing everything changes nothing. Costs no rows beside the removal
    curves.
    """

    category: ClassVar[str] = "complexity"
    higher_is_better: ClassVar[bool] = False
    paper: ClassVar[str] = "Nguyen & Martinez 2020, arXiv:2007.07584"
    baseline: Baseline
    tolerance: float = 0.1
    fractions: tuple[float, ...] = FRACTIONS

    def score(self, case: Case) -> Tensor:
        """`[B]`, from 0 to 1."""
        # To keep the top k alone is to remove all others, the lowest first.
        curves = case.measure(RemovalCurves(self.baseline, self.fractions))
        intact, empty = curves.least_first[:, :1], curves.least_first[:, -1:]
        near = (curves.least_first - intact).abs() <= self.tolerance * (empty - intact).abs()
        kept = curves.n_units[:, None] - curves.removed
        # The smallest of all numbers that do, as the paper has it: outputs need not approach
        # steadily.
        fewest = torch.where(near, kept, curves.n_units[:, None]).amin(1)
        scored = (pooled(case) != 0).any(1) & (empty != intact)[:, 0]
        return torch.where(scored, fewest / curves.n_units.double(), torch.nan)
