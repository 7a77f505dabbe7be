"""Agreement of the most important units with a written-down truth or with exact Shapley values.

Elements are pooled into units first, and units compared by magnitude. Ties in the attribution are
shuffled by one stream, so that a map of zeros scores at chance. Ties in the truth are free: any
order that agrees with the written-down values is right.
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

    Chance is `k / U`. NaN where `k` is all units or the truth is equal for all.
    """

    category: ClassVar[str] = "truth"
    higher_is_better: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("truth",)
    paper: ClassVar[str] = "Krishna+ 2022, arXiv:2202.01602"
    sign_invariant: ClassVar[bool] = True
    known_scores: ClassVar[KnownScores] = KnownScores(exact=1, opposite=1, random=2 / 8)
    fraction: float = 0.25

    def score(self, case: Case) -> Tensor:
        """`[B]`, from 0 to 1."""
        # All units may count: attributions are finite.
        return _shared_top(case, self.fraction, lambda attribution, _: attribution.isfinite())


@dataclass(frozen=True)
class SignAgreement:
    """Share of the top `k` units that are in both top `k` and have the same sign.

    Chance is `k / (2 U)`. NaN where `k` is all units or the truth is equal for all. Contributions
    only: the sign of a sensitivity is the direction of a change, and other kinds have no sign.
    """

    category: ClassVar[str] = "truth"
    higher_is_better: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("truth",)
    paper: ClassVar[str] = "Krishna+ 2022, arXiv:2202.01602"
    known_scores: ClassVar[KnownScores] = KnownScores(exact=1, opposite=0, random=2 / 16)
    fraction: float = 0.25

    def score(self, case: Case) -> Tensor:
        """`[B]`, from 0 to 1."""
        _require_contributions(case)
        return _shared_top(case, self.fraction, lambda a, truth: a.sign() == truth.sign())


@dataclass(frozen=True)
class RankAgreement:
    """Share of the top `k` places at which explanation and truth have the same unit.

    Chance is `1 / U`. NaN where `k` is all units or the truth is equal for all.
    """

    category: ClassVar[str] = "truth"
    higher_is_better: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("truth",)
    paper: ClassVar[str] = "Krishna+ 2022, arXiv:2202.01602"
    sign_invariant: ClassVar[bool] = True
    known_scores: ClassVar[KnownScores] = KnownScores(exact=1, opposite=1, random=1 / 8)
    fraction: float = 0.25

    def score(self, case: Case) -> Tensor:
        """`[B]`, from 0 to 1."""
        return _same_place(case, self.fraction, units.present(case.inputs.units))


@dataclass(frozen=True)
class SignedRankAgreement:
    """Share of the top `k` places with the same unit and the same sign on both sides.

    Chance is `1 / (2 U)`. NaN where `k` is all units or the truth is equal for all. Contributions
    only, as for the signs alone.
    """

    category: ClassVar[str] = "truth"
    higher_is_better: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("truth",)
    paper: ClassVar[str] = "Krishna+ 2022, arXiv:2202.01602"
    known_scores: ClassVar[KnownScores] = KnownScores(exact=1, opposite=0, random=1 / 16)
    fraction: float = 0.25

    def score(self, case: Case) -> Tensor:
        """`[B]`, from 0 to 1."""
        _require_contributions(case)
        truth = units.pool(written_truth(case), case.inputs.units)
        return _same_place(case, self.fraction, pooled(case).sign() == truth.sign())


@dataclass(frozen=True)
class TopKPrecision:
    """Share of the explanation's top `k` units that are relevant, `k` being how many are.

    A unit is relevant where any of its elements has non-zero truth. Chance is `k / U`. NaN where
    none or all are relevant.
    """

    category: ClassVar[str] = "truth"
    higher_is_better: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("truth",)
    paper: ClassVar[str] = "Arras+ 2022, arXiv:2003.07258 (relevance rank accuracy)"
    sign_invariant: ClassVar[bool] = True
    known_scores: ClassVar[KnownScores] = KnownScores(exact=1, opposite=1, random=3 / 8)

    def score(self, case: Case) -> Tensor:
        """`[B]`, from 0 to 1."""
        relevant = relevant_units(case)
        k = relevant.sum(1)
        hits = (relevant & (_rank(case) < k[:, None])).sum(1)
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
        """`[B]`, from -1 to 1."""
        exact = case.measure(ExactShapley(self.baseline, self.max_units))
        estimate = contributions(case, exact.difference_from_reference)
        # Of signed values: a map of magnitudes is no estimate of contributions.
        sizes = total(estimate.square()).sqrt() * total(exact.values.square()).sqrt()
        return total(estimate * exact.values) / sizes


@dataclass(frozen=True)
class ShapleyDistance:
    """Distance of the explanation from the model's exact Shapley values, relative to their size.

    Unlike the cosine it depends on the scale: a map of zeros scores 1, and so does twice the right
    map.
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
        """`[B]`, 0 or more."""
        exact = case.measure(ExactShapley(self.baseline, self.max_units))
        gap = contributions(case, exact.difference_from_reference) - exact.values
        size = total(exact.values.square())
        return (total(gap.square()) / torch.where(size > 0, size, torch.nan)).sqrt()


def written_truth(case: Case) -> Tensor:
    """`[B, *S]` float64: the written-down truth. Raises `Unsupported` where there is none."""
    if case.truth is None:
        raise Unsupported("no truth is written down for this data and target")
    return case.truth.double()


def relevant_units(case: Case) -> Tensor:
    """`[B, U]` bool: units of which any element has non-zero truth."""
    return units.pool(written_truth(case).abs(), case.inputs.units) > 0


def _require_contributions(case: Case) -> None:
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

    `counted` says for pooled attributions and truth, `[B, U]` each, which units may count. Of
    truths that are tied at place `k`, as many count as there are places left.
    """
    truth = units.pool(written_truth(case), case.inputs.units)
    k = counts(units.count(case.inputs.units), (fraction,))
    size = truth.abs()
    kth = size.sort(dim=1, descending=True).values.gather(1, k - 1)
    top = (_rank(case) < k) & counted(pooled(case), truth)
    above, tied = ((top & among).sum(1) for among in (size > kth, size == kth))
    # Units whose truth is tied with the k-th largest share the places that larger ones leave.
    places_left = k[:, 0] - (size > kth).sum(1)
    return _share(above + torch.minimum(tied, places_left), k[:, 0], _n_choices(size, case))


def _same_place(case: Case, fraction: float, counted: Tensor) -> Tensor:
    """`[B]`: share of the top `k` places that hold as large a truth as they should.

    `counted [B, U]` bool: the units that may count. Comparing values in place of units leaves ties
    in the truth free.
    """
    size = units.pool(written_truth(case), case.inputs.units).abs()
    n_units = units.count(case.inputs.units)
    k = counts(n_units, (fraction,))
    order = _rank(case).argsort(dim=1)
    correct = size.gather(1, order) == size.sort(dim=1, descending=True).values
    hits = correct & counted.gather(1, order) & (torch.arange(size.shape[1]) < k)
    return _share(hits.sum(1), k[:, 0], _n_choices(size, case))


def _n_choices(size: Tensor, case: Case) -> Tensor:
    """`[B]` long: how many units there are to choose from; 0 where the truth is equal for all."""
    real = units.present(case.inputs.units)
    equal = torch.where(real, size, -1).amax(1) == torch.where(real, size, torch.inf).amin(1)
    return torch.where(equal, 0, real.sum(1))


def _share(hits: Tensor, k: Tensor, n_choices: Tensor) -> Tensor:
    """`[B]`: `hits / k`; NaN where `k` is 0 or all there is."""
    return torch.where((k > 0) & (k < n_choices), hits.double() / k, torch.nan)
