"""How the output changes when units are removed in the order of their attributions.

All metrics here read the same two removal curves, which are measured once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from xai_bench.metrics.eight_units import (
    BOTTOM_SHARES,
    HIGHEST_AREA,
    LOWEST_AREA,
    MEAN_SHARES,
    OUTPUT,
    TOP_SHARES,
)
from xai_bench.metrics.probes.removal.curves import Curves, RemovalCurves, counts
from xai_bench.types import Baseline, Case, KnownScores

ERASER_FRACTIONS = (0.01, 0.05, 0.1, 0.2, 0.5)
"""Shares of units at which DeYoung et al. measure; all are on the grid of the removal curves."""


@dataclass(frozen=True)
class Deletion:
    """Area under the target output while the most important units are removed first."""

    category: ClassVar[str] = "fidelity"
    higher_is_better: ClassVar[bool] = False
    paper: ClassVar[str] = "Petsiuk+ 2018, arXiv:1806.07421"
    version: ClassVar[int] = 2
    known_scores: ClassVar[KnownScores] = KnownScores(
        exact=LOWEST_AREA, opposite=HIGHEST_AREA, random=OUTPUT / 2
    )
    baseline: Baseline

    def score(self, case: Case) -> Tensor:
        """`[B]`, in units of the output."""
        curves = case.measure(RemovalCurves(self.baseline))
        return curves.area(curves.most_first)


@dataclass(frozen=True)
class Insertion:
    """Area under the target output while the most important units are put back first.

    Putting back from the top is removing from the bottom, read backwards: the area is the same.
    """

    category: ClassVar[str] = "fidelity"
    higher_is_better: ClassVar[bool] = True
    paper: ClassVar[str] = "Petsiuk+ 2018, arXiv:1806.07421"
    version: ClassVar[int] = 2
    known_scores: ClassVar[KnownScores] = KnownScores(
        exact=HIGHEST_AREA, opposite=LOWEST_AREA, random=OUTPUT / 2
    )
    baseline: Baseline

    def score(self, case: Case) -> Tensor:
        """`[B]`, in units of the output."""
        curves = case.measure(RemovalCurves(self.baseline))
        return curves.area(curves.least_first)


@dataclass(frozen=True)
class AbPC:
    """Area between the removal curves: least important first, less most important first.

    The effect of leaving the data, which both orders share, cancels. The negative of a map has
    exactly the negative score, so a map without differences scores exactly 0, which is chance. Also
    called symmetric relevance gain.
    """

    category: ClassVar[str] = "fidelity"
    higher_is_better: ClassVar[bool] = True
    paper: ClassVar[str] = "Blücher+ 2024, arXiv:2401.06654"
    version: ClassVar[int] = 2
    known_scores: ClassVar[KnownScores] = KnownScores(
        exact=HIGHEST_AREA - LOWEST_AREA, opposite=LOWEST_AREA - HIGHEST_AREA, random=0
    )
    baseline: Baseline

    def score(self, case: Case) -> Tensor:
        """`[B]`, in units of the output."""
        curves = case.measure(RemovalCurves(self.baseline))
        return curves.area(curves.least_first) - curves.area(curves.most_first)


@dataclass(frozen=True)
class Comprehensiveness:
    """Mean drop of the target output without the top 1, 5, 10, 20 and 50 % of units."""

    category: ClassVar[str] = "fidelity"
    higher_is_better: ClassVar[bool] = True
    paper: ClassVar[str] = "DeYoung+ 2020, arXiv:1911.03429"
    known_scores: ClassVar[KnownScores] = KnownScores(
        exact=TOP_SHARES, opposite=BOTTOM_SHARES, random=MEAN_SHARES
    )
    baseline: Baseline

    def score(self, case: Case) -> Tensor:
        """`[B]`, in units of the output."""
        curves = case.measure(RemovalCurves(self.baseline))
        return _mean_drop(curves, curves.most_first, counts(curves.n_units, ERASER_FRACTIONS))


@dataclass(frozen=True)
class Sufficiency:
    """Mean drop of the target output with only the top 1, 5, 10, 20 and 50 % of units kept."""

    category: ClassVar[str] = "fidelity"
    higher_is_better: ClassVar[bool] = False
    paper: ClassVar[str] = "DeYoung+ 2020, arXiv:1911.03429"
    # What is left out is worth 36 less what is kept.
    known_scores: ClassVar[KnownScores] = KnownScores(
        exact=OUTPUT - TOP_SHARES, opposite=OUTPUT - BOTTOM_SHARES, random=OUTPUT - MEAN_SHARES
    )
    baseline: Baseline

    def score(self, case: Case) -> Tensor:
        """`[B]`, in units of the output."""
        curves = case.measure(RemovalCurves(self.baseline))
        # To keep the top k is to remove the U - k lowest first.
        removed = curves.n_units[:, None] - counts(curves.n_units, ERASER_FRACTIONS)
        return _mean_drop(curves, curves.least_first, removed)


def _mean_drop(curves: Curves, curve: Tensor, removed: Tensor) -> Tensor:
    """`[B, P], [B, M] -> [B]`: how far below its start the curve lies, mean over `removed`."""
    return curve[:, 0] - curves.at(curve, removed).mean(1)
