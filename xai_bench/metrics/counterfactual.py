"""Is what an explainer calls a counterfactual one, and is it near, simple, likely and possible?

All but validity are NaN where no counterfactual was found; all are NaN where the sample is not in
the class that is explained, so that there is nothing to leave.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xai_bench.core import actionability, counterfactuals, units
from xai_bench.metrics.common import total
from xai_bench.metrics.probes.counterfactuals import Alternatives, BackgroundClasses, PresentClass
from xai_bench.metrics.probes.removal.data_distance import distances, standardised
from xai_bench.types import Case, Inputs, Unsupported


@dataclass(frozen=True)
class CounterfactualValidity:
    """Share of the counterfactuals asked for that have another class; those not found have not.

    A regressor's class is the side of the background's median output on which its output lies.
    """

    category: ClassVar[str] = "counterfactual"
    higher_is_better: ClassVar[bool] = True
    paper: ClassVar[str] = "Mothilal+ 2020, arXiv:1905.07697"

    def score(self, case: Case) -> Tensor:
        valid = case.measure(Alternatives()).valid
        share = valid.sum(1).double() / valid.shape[1]
        return torch.where(case.measure(PresentClass()) >= 0, share, torch.nan)


@dataclass(frozen=True)
class CounterfactualProximity:
    """Distance of the nearest valid counterfactual: absolute changes in median absolute deviations.

    Added up over elements; another category counts 1.
    """

    category: ClassVar[str] = "counterfactual"
    higher_is_better: ClassVar[bool] = False
    paper: ClassVar[str] = "Wachter+ 2017, arXiv:1711.00399"

    def score(self, case: Case) -> Tensor:
        judged = case.measure(Alternatives())
        return judged.scored(judged.of_nearest(judged.distance))


@dataclass(frozen=True)
class CounterfactualSparsity:
    """How many units the nearest valid counterfactual changes."""

    category: ClassVar[str] = "counterfactual"
    higher_is_better: ClassVar[bool] = False
    paper: ClassVar[str] = "Mothilal+ 2020, arXiv:1905.07697 (the number, not the share)"

    def score(self, case: Case) -> Tensor:
        judged = case.measure(Alternatives())
        size = counterfactuals.changes(case.inputs, judged.points, judged.price)
        changed = judged.of_nearest(size) > actionability.SAME
        return judged.scored((units.pool(changed.long(), case.inputs.units) > 0).sum(1))


@dataclass(frozen=True)
class CounterfactualPlausibility:
    """How far off the data of its new class the nearest valid counterfactual lies.

    Its distance to the `k`-th nearest background row that the model puts into that class, over the
    median of that distance for those rows themselves: near 1 or below where it looks like them. A
    counterfactual that is such a row is its own nearest. NaN with fewer than two such rows.
    """

    category: ClassVar[str] = "counterfactual"
    higher_is_better: ClassVar[bool] = False
    paper: ClassVar[str] = "Pawelczyk+ 2021, arXiv:2108.00783 (yNN; here a ratio of distances)"
    k: int = 5

    def score(self, case: Case) -> Tensor:
        if case.inputs.context:
            raise Unsupported(
                f"background rows have their own {', '.join(case.inputs.context)}, so their "
                "distance to a counterfactual says little"
            )
        judged, known = case.measure(Alternatives()), case.measure(BackgroundClasses()).labels
        points = judged.of_nearest(judged.points)
        labels = judged.of_nearest(judged.labels)
        found = torch.full((len(points),), torch.nan, dtype=torch.float64)
        for label in known.unique().tolist():
            rows = (labels == label).nonzero()[:, 0]
            if len(rows) and int((known == label).sum()) > 1:
                found[rows] = self._ratio(case.inputs.take(rows), points[rows], known == label)
        return judged.scored(found)

    def _ratio(self, inputs: Inputs, points: Tensor, same: Tensor) -> Tensor:
        """`points [b, *S]`, `same [N]` bool `-> [b]`."""
        rows = inputs.domain.background[same]
        rows = standardised(inputs.take(torch.arange(1)), rows[None])
        k = min(self.k, rows.shape[1] - 1)
        # Each row is its own nearest, at exactly 0.
        usual = distances(rows, rows, k + 1).median()
        away = distances(standardised(inputs, points[:, None]), rows.expand(len(points), -1, -1), k)
        return away[:, 0] / torch.where(usual > 0, usual, torch.nan)


@dataclass(frozen=True)
class CounterfactualDiversity:
    """Mean distance between two valid counterfactuals of the same sample.

    In median absolute deviations, as for proximity. NaN with fewer than two; declined where an
    explainer gives only one.
    """

    category: ClassVar[str] = "counterfactual"
    higher_is_better: ClassVar[bool] = True
    paper: ClassVar[str] = "Mothilal+ 2020, arXiv:1905.07697"

    def score(self, case: Case) -> Tensor:
        judged = case.measure(Alternatives())
        n_points = judged.points.shape[1]
        if n_points < 2:
            raise Unsupported("diversity needs more than one counterfactual per sample")
        apart = torch.zeros(len(judged.points), dtype=torch.float64)
        pairs = torch.zeros_like(apart)
        for first in range(n_points - 1):
            start = case.inputs.with_x(judged.points[:, first])
            away = counterfactuals.distance(start, judged.points[:, first + 1 :], judged.price)
            both = judged.valid[:, first, None] & judged.valid[:, first + 1 :]
            apart += total(torch.where(both, away, 0))
            pairs += both.sum(1)
        return apart / torch.where(pairs > 0, pairs, torch.nan)


@dataclass(frozen=True)
class CounterfactualActionability:
    """Share of the valid counterfactuals that change nothing against the rules of the data.

    Rules are columns that cannot change or go one way only, bounds, whole numbers and categories.
    """

    category: ClassVar[str] = "counterfactual"
    higher_is_better: ClassVar[bool] = True
    paper: ClassVar[str] = "Ustun+ 2019, arXiv:1809.06514"

    def score(self, case: Case) -> Tensor:
        if case.inputs.domain.actionability is None:
            raise Unsupported("nobody has said which changes are possible (data.immutable)")
        judged = case.measure(Alternatives())
        right = judged.valid & actionability.possible(case.inputs, judged.points)
        return judged.scored(right.sum(1) / judged.valid.sum(1))
