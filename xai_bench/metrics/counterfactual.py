"""Whether counterfactuals are valid, and how near, sparse, plausible and actionable they are.

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
from xai_bench.metrics.probes.counterfactuals import (
    BackgroundClasses,
    Counterfactuals,
    CurrentClass,
    TextLikelihood,
)
from xai_bench.metrics.probes.removal.data_distance import distances, standardised
from xai_bench.types import Case, Inputs, LanguageModel, Unsupported


@dataclass(frozen=True)
class CounterfactualValidity:
    """Share of the requested counterfactuals that have another class; those not found have not.

    A regressor's class is the side of the background's median output on which its output lies.
    """

    category: ClassVar[str] = "counterfactual"
    higher_is_better: ClassVar[bool] = True
    paper: ClassVar[str] = "Mothilal+ 2020, arXiv:1905.07697"

    def score(self, case: Case) -> Tensor:
        """`[B]`, from 0 to 1."""
        valid = case.measure(Counterfactuals()).valid
        # Those that were not found count, so that giving up on hard samples does not pay.
        share = valid.sum(1).double() / valid.shape[1]
        return torch.where(case.measure(CurrentClass()) >= 0, share, torch.nan)


@dataclass(frozen=True)
class CounterfactualProximity:
    """Distance of the nearest valid counterfactual, in median absolute deviations.

    The absolute changes of all elements are added up; another category counts 1.
    """

    category: ClassVar[str] = "counterfactual"
    higher_is_better: ClassVar[bool] = False
    paper: ClassVar[str] = "Wachter+ 2017, arXiv:1711.00399"

    def score(self, case: Case) -> Tensor:
        """`[B]`, 0 or more."""
        classified = case.measure(Counterfactuals())
        return classified.scored(classified.of_nearest(classified.distance))


@dataclass(frozen=True)
class CounterfactualSparsity:
    """How many units the nearest valid counterfactual changes."""

    category: ClassVar[str] = "counterfactual"
    higher_is_better: ClassVar[bool] = False
    paper: ClassVar[str] = "Mothilal+ 2020, arXiv:1905.07697 (the number, not the share)"

    def score(self, case: Case) -> Tensor:
        """`[B]`, a number of units."""
        classified = case.measure(Counterfactuals())
        size = counterfactuals.changes(case.inputs, classified.points, classified.price)
        # Above a tolerance: an optimiser leaves unchanged columns off by rounding.
        changed = classified.of_nearest(size) > actionability.SAME
        return classified.scored((units.pool(changed.long(), case.inputs.units) > 0).sum(1))


@dataclass(frozen=True)
class EditShare:
    """The share of its units that the nearest valid counterfactual changes, such as of the words.

    Read it beside validity, which is the flip rate: who gives up early edits little.
    """

    category: ClassVar[str] = "counterfactual"
    higher_is_better: ClassVar[bool] = False
    paper: ClassVar[str] = "Ross+ 2021, arXiv:2012.13985 (minimality, of units)"

    def score(self, case: Case) -> Tensor:
        """`[B]`, above 0 and at most 1."""
        changed = CounterfactualSparsity().score(case)
        return changed / units.count(case.inputs.units)


@dataclass(frozen=True)
class Fluency:
    """How much worse a masked language model predicts the words of the nearest valid counterfactual
    than those of the text: 1 where it reads as well, 2 where each word is twice as surprising.

    The ratio of mean losses, each token judged given all others. The model is that of the run:
    trained on its training texts, not the one that is explained.
    """

    category: ClassVar[str] = "counterfactual"
    needs: ClassVar[tuple[str, ...]] = ("vocabulary",)
    higher_is_better: ClassVar[bool] = False
    paper: ClassVar[str] = "Ross+ 2021, arXiv:2012.13985"
    language_model: LanguageModel | None = None

    def score(self, case: Case) -> Tensor:
        """`[B]`, above 0. Raises `Unsupported` without tokens or a masked language model."""
        symbols = case.inputs.domain.symbols
        if symbols is None or not case.inputs.domain.discrete:
            raise Unsupported("fluency is judged word by word, and x holds no tokens")
        if symbols.infill is None:
            raise Unsupported(
                "fluency needs a masked language model, and none is there; set language_model of "
                "the metric in a run, or Symbols.infill"
            )
        classified = case.measure(Counterfactuals())
        edited = classified.of_nearest(classified.points)
        of_edited = symbols.infill.log_probability(edited.long())
        return classified.scored(of_edited / case.measure(TextLikelihood()))


@dataclass(frozen=True)
class CounterfactualPlausibility:
    """How far from the data of its new class the nearest valid counterfactual lies.

    Its distance to the `k`-th nearest background row of that class, by the model, over the median
    of that distance for those rows themselves: near 1 or below where it looks like them. A
    counterfactual that is such a row is its own nearest. NaN with fewer than two such rows.
    """

    category: ClassVar[str] = "counterfactual"
    higher_is_better: ClassVar[bool] = False
    paper: ClassVar[str] = "Pawelczyk+ 2021, arXiv:2108.00783 (yNN; here a ratio of distances)"
    k: int = 5

    def score(self, case: Case) -> Tensor:
        """`[B]`, 0 or more."""
        if case.inputs.context:
            raise Unsupported(
                f"background rows have their own {', '.join(case.inputs.context)}, so their "
                "distance to a counterfactual means little"
            )
        classified = case.measure(Counterfactuals())
        background = case.measure(BackgroundClasses()).labels
        points = classified.of_nearest(classified.points)
        labels = classified.of_nearest(classified.labels)
        ratio = torch.full((len(points),), torch.nan, dtype=torch.float64)
        # Plausible is what looks like the data of its own class, not of the class that was left.
        for label in background.unique().tolist():
            rows, same = (labels == label).nonzero()[:, 0], background == label
            if len(rows) and int(same.sum()) > 1:
                ratio[rows] = self._ratio(case.inputs.take(rows), points[rows], same)
        return classified.scored(ratio)

    def _ratio(self, inputs: Inputs, points: Tensor, same: Tensor) -> Tensor:
        """`points [b, *S]`, `same [N]` bool, the rows of their class `-> [b]`."""
        rows = inputs.domain.background[same]
        rows = standardised(inputs.take(torch.arange(1)), rows[None])
        k = min(self.k, rows.shape[1] - 1)
        # Each row is its own nearest, at exactly 0.
        usual = distances(rows, rows, k + 1).median()
        points = standardised(inputs, points[:, None])
        distance = distances(points, rows.expand(len(points), -1, -1), k)
        return distance[:, 0] / torch.where(usual > 0, usual, torch.nan)


@dataclass(frozen=True)
class CounterfactualDiversity:
    """Mean distance between two valid counterfactuals of the same sample.

    In median absolute deviations, as for proximity. NaN with fewer than two; unsupported where an
    explainer gives only one.
    """

    category: ClassVar[str] = "counterfactual"
    higher_is_better: ClassVar[bool] = True
    paper: ClassVar[str] = "Mothilal+ 2020, arXiv:1905.07697"

    def score(self, case: Case) -> Tensor:
        """`[B]`, 0 or more."""
        classified = case.measure(Counterfactuals())
        n_points = classified.points.shape[1]
        if n_points < 2:
            raise Unsupported("diversity needs more than one counterfactual per sample")
        summed = torch.zeros(len(classified.points), dtype=torch.float64)
        pairs = torch.zeros_like(summed)
        # One point against the rest at a time, so that memory grows with M and not with its square.
        for first in range(n_points - 1):
            start = case.inputs.with_x(classified.points[:, first])
            others = classified.points[:, first + 1 :]
            distance = counterfactuals.distance(start, others, classified.price)
            both = classified.valid[:, first, None] & classified.valid[:, first + 1 :]
            summed += total(torch.where(both, distance, 0))
            pairs += both.sum(1)
        return summed / torch.where(pairs > 0, pairs, torch.nan)


@dataclass(frozen=True)
class CounterfactualActionability:
    """Share of the valid counterfactuals that change nothing against the rules of the data.

    Rules are columns that cannot change or go one way only, bounds, whole numbers and categories.
    """

    category: ClassVar[str] = "counterfactual"
    higher_is_better: ClassVar[bool] = True
    paper: ClassVar[str] = "Ustun+ 2019, arXiv:1809.06514"
    version: ClassVar[int] = 2

    def score(self, case: Case) -> Tensor:
        """`[B]`, from 0 to 1."""
        if case.inputs.domain.actionability is None:
            raise Unsupported("this data does not say which changes are possible (data.immutable)")
        classified = case.measure(Counterfactuals())
        possible = classified.valid & actionability.possible(case.inputs, classified.points)
        return classified.scored(possible.sum(1).double() / classified.valid.sum(1))
