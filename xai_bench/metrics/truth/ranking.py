"""Whether the explanation ranks relevant units above irrelevant ones.

Elements are pooled into units first, and units compared by magnitude. A unit is relevant where any
of its elements has non-zero truth. Nothing is drawn: tied units get the expectation over all their
orders. Costs no rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xai_bench.core import units
from xai_bench.metrics.common import pooled, total
from xai_bench.metrics.probes.removal.curves import counts
from xai_bench.metrics.ties import Blocks, at_top, average_rank
from xai_bench.metrics.truth.agreement import relevant_units, written_truth
from xai_bench.types import Case, KnownScores

PAIRS = 1 << 20
"""Pairs of units that are compared at once, over the whole batch."""


@dataclass(frozen=True)
class PairwiseRankAgreement:
    """Share of the pairs of units with different truth that the explanation orders in the same way.

    A pair that the explanation ties counts a half, so chance is 1/2. NaN where the truth is equal
    for all units.
    """

    category: ClassVar[str] = "truth"
    higher_is_better: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("truth",)
    paper: ClassVar[str] = "Krishna+ 2022, arXiv:2202.01602"
    sign_invariant: ClassVar[bool] = True
    known_scores: ClassVar[KnownScores] = KnownScores(exact=1, opposite=1, random=1 / 2)

    def score(self, case: Case) -> Tensor:
        """`[B]`, from 0 to 1."""
        size, truth = pooled(case).abs(), units.pool(written_truth(case), case.inputs.units).abs()
        real = units.present(case.inputs.units)
        agreeing, pairs = (torch.zeros(len(size), dtype=torch.float64) for _ in range(2))
        width = max(PAIRS // size.numel(), 1)
        for columns in torch.arange(size.shape[1]).split(width):
            order, true_order = ((v[:, columns, None] - v[:, None]).sign() for v in (size, truth))
            differ = (true_order != 0) & real[:, columns, None] & real[:, None]
            # 1 for the same order, 0 for the opposite one, 1/2 for a tie.
            agreeing += ((1 + order * true_order) / 2 * differ).sum((1, 2))
            pairs += differ.sum((1, 2))
        return agreeing / pairs


@dataclass(frozen=True)
class RankCorrelation:
    """Spearman's correlation of the magnitudes; tied units share the mean of their ranks.

    Chance is 0. NaN where either side ties all units.
    """

    category: ClassVar[str] = "truth"
    higher_is_better: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("truth",)
    paper: ClassVar[str] = "Spearman 1904; Krishna+ 2022, arXiv:2202.01602"
    sign_invariant: ClassVar[bool] = True
    known_scores: ClassVar[KnownScores] = KnownScores(exact=1, opposite=1, random=0)

    def score(self, case: Case) -> Tensor:
        """`[B]`, from -1 to 1."""
        real = units.present(case.inputs.units)
        mean_rank = (units.count(case.inputs.units)[:, None] - 1) / 2
        truth = units.pool(written_truth(case), case.inputs.units).abs()
        x, y = (
            torch.where(real, average_rank(values, real) - mean_rank, 0)
            for values in (pooled(case).abs(), truth)
        )
        return total(x * y) / (total(x * x) * total(y * y)).sqrt()


@dataclass(frozen=True)
class RecallAtK:
    """Share of the relevant units that are among the explanation's top `k = ceil(fraction * U)`.

    Chance is `k / U`; with more than `k` relevant units the best is below 1. NaN where none or all
    are relevant, or `k` is all units.
    """

    category: ClassVar[str] = "truth"
    higher_is_better: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("truth",)
    paper: ClassVar[str] = "Manning+ 2008, Introduction to Information Retrieval, ch. 8"
    sign_invariant: ClassVar[bool] = True
    # Two of the three relevant units can be among the top two.
    known_scores: ClassVar[KnownScores] = KnownScores(exact=2 / 3, opposite=2 / 3, random=2 / 8)
    fraction: float = 0.25

    def score(self, case: Case) -> Tensor:
        """`[B]`, from 0 to 1."""
        real, relevant = units.present(case.inputs.units), relevant_units(case)
        k = counts(units.count(case.inputs.units), (self.fraction,))
        recall = total(at_top(pooled(case).abs(), real, k) * relevant) / relevant.sum(1)
        scored = _some_irrelevant(case, relevant) & (k[:, 0] < real.sum(1))
        return torch.where(scored, recall, torch.nan)


@dataclass(frozen=True)
class AUROC:
    """Probability that a relevant unit has a larger magnitude than an irrelevant one; ties are 1/2.

    Chance is 1/2. NaN where none or all are relevant.
    """

    category: ClassVar[str] = "truth"
    higher_is_better: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("truth",)
    paper: ClassVar[str] = "Hanley & McNeil 1982; Mann & Whitney 1947"
    sign_invariant: ClassVar[bool] = True
    known_scores: ClassVar[KnownScores] = KnownScores(exact=1, opposite=1, random=1 / 2)

    def score(self, case: Case) -> Tensor:
        """`[B]`, from 0 to 1."""
        real, relevant = units.present(case.inputs.units), relevant_units(case)
        m, n_units = relevant.sum(1), real.sum(1)
        # Mann-Whitney: the ranks of relevant units, less those that they have among themselves.
        # Mean ranks of ties count half a win, as the area under the curve does.
        above = total(average_rank(pooled(case).abs(), real) * relevant) - m * (m - 1) / 2
        return torch.where(_some_irrelevant(case, relevant), above / (m * (n_units - m)), torch.nan)


@dataclass(frozen=True)
class AUPRC:
    """Average precision: the mean, over relevant units, of the precision down to their place.

    Tied units are taken in every order. Chance is a little above the share `m / U` of relevant
    units. NaN where none or all are relevant.
    """

    category: ClassVar[str] = "truth"
    higher_is_better: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("truth",)
    paper: ClassVar[str] = "Davis & Goadrich 2006; McSherry & Najork 2008 (ties)"
    sign_invariant: ClassVar[bool] = True
    # Of the p - 1 units above a relevant one at place p, 2 / 7 are relevant: the mean over p of
    # (1 + 2 / 7 * (p - 1)) / p, where the sum of 1 / p up to 8 is 761 / 280.
    known_scores: ClassVar[KnownScores] = KnownScores(
        exact=1, opposite=1, random=2 / 7 + 5 / 7 * (761 / 280) / 8
    )

    def score(self, case: Case) -> Tensor:
        """`[B]`, from 0 to 1."""
        relevant = relevant_units(case)
        ties = Blocks.of(pooled(case).abs(), relevant, units.present(case.inputs.units))
        precision = ties.average_precision(relevant.sum(1))
        return torch.where(_some_irrelevant(case, relevant), precision, torch.nan)


@dataclass(frozen=True)
class FirstHitRank:
    """Share of the irrelevant units that are ranked above the first relevant one.

    0 where the top unit is relevant, 1 where all relevant units come last; chance is `1 / (m + 1)`
    with `m` relevant units. NaN where none or all are relevant.
    """

    category: ClassVar[str] = "truth"
    higher_is_better: ClassVar[bool] = False
    needs: ClassVar[tuple[str, ...]] = ("truth",)
    paper: ClassVar[str] = "Voorhees 1999 (reciprocal rank; here the rank itself, from 0 to 1)"
    sign_invariant: ClassVar[bool] = True
    known_scores: ClassVar[KnownScores] = KnownScores(exact=0, opposite=0, random=1 / 4)

    def score(self, case: Case) -> Tensor:
        """`[B]`, from 0 to 1."""
        relevant = relevant_units(case)
        ties = Blocks.of(pooled(case).abs(), relevant, units.present(case.inputs.units))
        # Of a block with r relevant units, the first has on average (size - r) / (r + 1) irrelevant
        # ones before it.
        before = ties.start + (ties.size - ties.hits) / (ties.hits + 1)
        first = torch.where(ties.hits > 0, before, torch.inf).amin(1)
        n_others = units.count(case.inputs.units) - relevant.sum(1)
        return torch.where(_some_irrelevant(case, relevant), first / n_others, torch.nan)


@dataclass(frozen=True)
class MassOnIrrelevant:
    """Share of the absolute attribution that lies on irrelevant units.

    Chance is their share of all units. NaN for a map of zeros, and where none or all are relevant.
    """

    category: ClassVar[str] = "truth"
    higher_is_better: ClassVar[bool] = False
    needs: ClassVar[tuple[str, ...]] = ("truth",)
    paper: ClassVar[str] = "Arras+ 2022, arXiv:2003.07258 (one less relevance mass accuracy)"
    sign_invariant: ClassVar[bool] = True
    known_scores: ClassVar[KnownScores] = KnownScores(exact=0, opposite=0, random=5 / 8)

    def score(self, case: Case) -> Tensor:
        """`[B]`, from 0 to 1."""
        size, relevant = pooled(case).abs(), relevant_units(case)
        share = total(size * ~relevant) / total(size)
        return torch.where(_some_irrelevant(case, relevant), share, torch.nan)


def _some_irrelevant(case: Case, relevant: Tensor) -> Tensor:
    """`[B]` bool: some units are relevant, and some are not."""
    n_relevant = relevant.sum(1)
    return (n_relevant > 0) & (n_relevant < units.count(case.inputs.units))
