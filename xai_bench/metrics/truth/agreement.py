"""Does the explanation find what is known to matter?

Unit space throughout: elements are pooled first, and units compared by magnitude. Ties in the
attribution are shuffled by one stream, so that a map of zeros scores at chance. Ties in the truth
are free: any order that agrees with the written-down values is right.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xai_bench.core import units
from xai_bench.metrics.common import contributions, pooled, total
from xai_bench.metrics.probes.removal.curves import counts
from xai_bench.metrics.probes.removal.exact import ExactShapley
from xai_bench.types import Baseline, Case, KnownScores, Unsupported


@dataclass(frozen=True)
class FeatureAgreement:
    """Share of the truth's top `k = ceil(fraction * U)` units among the explanation's top `k`.

    Chance is `k / U`. NaN where `k` is all units or the truth calls all alike.
    """

    category: ClassVar[str] = "truth"
    higher_is_better: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("truth",)
    paper: ClassVar[str] = "Krishna+ 2022, arXiv:2202.01602"
    sign_invariant: ClassVar[bool] = True
    known_scores: ClassVar[KnownScores] = KnownScores(exact=1, opposite=1, random=2 / 8)
    fraction: float = 0.25

    def score(self, case: Case) -> Tensor:
        return _shared_top(case, self.fraction, lambda found, truth: found.isfinite())


@dataclass(frozen=True)
class SignAgreement:
    """Share of the top `k` units that are in both top `k` and have the same sign.

    Chance is `k / (2 U)`. NaN where `k` is all units or the truth calls all alike.
    Contributions only: the sign of a sensitivity
    is the direction of a change, and other kinds have none.
    """

    category: ClassVar[str] = "truth"
    higher_is_better: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("truth",)
    paper: ClassVar[str] = "Krishna+ 2022, arXiv:2202.01602"
    known_scores: ClassVar[KnownScores] = KnownScores(exact=1, opposite=0, random=2 / 16)
    fraction: float = 0.25

    def score(self, case: Case) -> Tensor:
        _refuse_unsigned(case)
        return _shared_top(case, self.fraction, lambda found, truth: found.sign() == truth.sign())


@dataclass(frozen=True)
class RankAgreement:
    """Share of the top `k` places at which explanation and truth have the same unit.

    Chance is `1 / U`. NaN where `k` is all units or the truth calls all alike.
    """

    category: ClassVar[str] = "truth"
    higher_is_better: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("truth",)
    paper: ClassVar[str] = "Krishna+ 2022, arXiv:2202.01602"
    sign_invariant: ClassVar[bool] = True
    known_scores: ClassVar[KnownScores] = KnownScores(exact=1, opposite=1, random=1 / 8)
    fraction: float = 0.25

    def score(self, case: Case) -> Tensor:
        return _same_place(case, self.fraction, units.present(case.inputs.units))


@dataclass(frozen=True)
class SignedRankAgreement:
    """Share of the top `k` places with the same unit and the same sign on both sides.

    Chance is `1 / (2 U)`. NaN where `k` is all units or the truth calls all alike.
    Contributions only, as for the signs alone.
    """

    category: ClassVar[str] = "truth"
    higher_is_better: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("truth",)
    paper: ClassVar[str] = "Krishna+ 2022, arXiv:2202.01602"
    known_scores: ClassVar[KnownScores] = KnownScores(exact=1, opposite=0, random=1 / 16)
    fraction: float = 0.25

    def score(self, case: Case) -> Tensor:
        _refuse_unsigned(case)
        truth = units.pool(known(case), case.inputs.units)
        return _same_place(case, self.fraction, pooled(case).sign() == truth.sign())


@dataclass(frozen=True)
class TopKPrecision:
    """Share of the explanation's top `k` units that matter, `k` being how many do.

    A unit matters where any of its elements has non-zero truth. Chance is `k / U`. NaN where none
    or all matter.
    """

    category: ClassVar[str] = "truth"
    higher_is_better: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("truth",)
    paper: ClassVar[str] = "Arras+ 2022, arXiv:2003.07258 (relevance rank accuracy)"
    sign_invariant: ClassVar[bool] = True
    known_scores: ClassVar[KnownScores] = KnownScores(exact=1, opposite=1, random=3 / 8)

    def score(self, case: Case) -> Tensor:
        matters = units.pool(known(case).abs(), case.inputs.units) > 0
        k = matters.sum(1)
        hits = (matters & (_rank(case) < k[:, None])).sum(1)
        return _share(hits, k, units.count(case.inputs.units))


@dataclass(frozen=True)
class CosineToShapley:
    """Cosine between the explanation and the model's exact Shapley values, over units.

    Sensitivities are first multiplied by x less its mean reference. NaN where either is zero.
    """

    category: ClassVar[str] = "truth"
    higher_is_better: ClassVar[bool] = True
    paper: ClassVar[str] = "Shapley 1953; Lundberg & Lee 2017, arXiv:1705.07874"
    known_scores: ClassVar[KnownScores] = KnownScores(exact=1, opposite=-1, random=0)
    baseline: Baseline
    max_units: int = 12

    def score(self, case: Case) -> Tensor:
        exact = case.measure(ExactShapley(self.baseline, self.max_units))
        found = contributions(case, exact.difference_from_reference)
        sizes = total(found.square()).sqrt() * total(exact.values.square()).sqrt()
        return total(found * exact.values) / sizes


@dataclass(frozen=True)
class ShapleyDistance:
    """Distance of the explanation from the model's exact Shapley values, relative to their size.

    Unlike their cosine it sees the scale: a map of zeros scores 1, twice the right map too.
    Sensitivities are first multiplied by x less its mean reference. NaN where the Shapley values
    are all zero. Costs `2^U * R` forward rows per sample, shared by all explainers.
    """

    category: ClassVar[str] = "truth"
    higher_is_better: ClassVar[bool] = False
    paper: ClassVar[str] = "Shapley 1953; Lundberg & Lee 2017, arXiv:1705.07874"
    scale_invariant: ClassVar[bool] = False
    # A random map lies off by a noncentral chi of 8 degrees of freedom, its centre the size of the
    # values, sqrt(204): its mean, 14.53, over that size.
    known_scores: ClassVar[KnownScores] = KnownScores(exact=0, opposite=2, random=1.01705)
    baseline: Baseline
    max_units: int = 12

    def score(self, case: Case) -> Tensor:
        exact = case.measure(ExactShapley(self.baseline, self.max_units))
        gap = contributions(case, exact.difference_from_reference) - exact.values
        size = total(exact.values.square())
        return (total(gap.square()) / torch.where(size > 0, size, torch.nan)).sqrt()


def known(case: Case) -> Tensor:
    """`[B, *S]` float64: the written-down truth."""
    if case.truth is None:
        raise Unsupported("no truth is written down for this data and target")
    return case.truth.double()


def _refuse_unsigned(case: Case) -> None:
    if case.kind != "contribution":
        raise Unsupported(
            f"signs of attributions of kind '{case.kind}' are not those of contributions"
        )


def _rank(case: Case) -> Tensor:
    """`[B, U]` long: 0 for the unit of the largest magnitude."""
    rng = case.rng.child("top_k")
    return units.ranking(pooled(case).abs(), case.inputs.units, rng=rng)


def _shared_top(case: Case, fraction: float, counted: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """`[B]`: share of the top `k` that the explanation has in common with the truth.

    `counted` takes pooled attributions and truth `[B, U]` to the units that may count, bool. Of
    truths tied at place `k`, as many count as there are places left.
    """
    truth = units.pool(known(case), case.inputs.units)
    n_units = units.count(case.inputs.units)
    k = counts(n_units, (fraction,))
    size = truth.abs()
    last = size.sort(dim=1, descending=True).values.gather(1, k - 1)
    found = (_rank(case) < k) & counted(pooled(case), truth)
    sure, tied = ((found & among).sum(1) for among in (size > last, size == last))
    places = k[:, 0] - (size > last).sum(1)
    return _share(sure + torch.minimum(tied, places), k[:, 0], _tells(size, case))


def _same_place(case: Case, fraction: float, counted: Tensor) -> Tensor:
    """`[B]`: share of the top `k` places that hold as large a truth as they should.

    `counted [B, U]` bool: the units that may count.
    """
    size = units.pool(known(case), case.inputs.units).abs()
    n_units = units.count(case.inputs.units)
    k = counts(n_units, (fraction,))
    order = _rank(case).argsort(dim=1)
    right = size.gather(1, order) == size.sort(dim=1, descending=True).values
    hits = right & counted.gather(1, order) & (torch.arange(size.shape[1]) < k)
    return _share(hits.sum(1), k[:, 0], _tells(size, case))


def _tells(size: Tensor, case: Case) -> Tensor:
    """`[B]` long: how many units there are to choose from; 0 where the truth calls all alike."""
    real = units.present(case.inputs.units)
    alike = torch.where(real, size, -1).amax(1) == torch.where(real, size, torch.inf).amin(1)
    return torch.where(alike, 0, real.sum(1))


def _share(hits: Tensor, k: Tensor, n_choices: Tensor) -> Tensor:
    """`hits / k`; NaN where there is nothing to choose."""
    return torch.where((k > 0) & (k < n_choices), hits.double() / k, torch.nan)
