"""Whether removal keeps inputs near the data.

A property of baseline, ranking and data. A fidelity score is worth the less, the further from the
data the points lie at which it evaluates the model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xai_bench.metrics.probes.removal.data_distance import CurveDistances, DataDistances
from xai_bench.metrics.probes.removal.discriminator import DiscriminatorRanks
from xai_bench.types import Baseline, Case


@dataclass(frozen=True)
class OodKnnRatio:
    """Distance of the points of the removal curve to the data, relative to that within the data.

    The distance to the `k`-th nearest background row, mean over the points with the top 10, 30 and
    50 % of units removed, over the median of that distance for background rows themselves. Above 1
    the points lie off the data; below 1 they are closer to the data than the data are to each
    other, as averages are. NaN where most background rows are equal. Runs no model.
    """

    category: ClassVar[str] = "distribution"
    higher_is_better: ClassVar[bool] = False
    paper: ClassVar[str] = "Hase+ 2021, arXiv:2106.00786 (the question, not the ratio)"
    baseline: Baseline
    k: int = 5

    def score(self, case: Case) -> Tensor:
        """`[B]`, 0 or more."""
        on_curve = case.measure(CurveDistances(self.baseline, self.k))
        # The median, so that a few outliers in the background do not set the scale.
        usual = case.measure(DataDistances(self.k)).median(dim=1).values
        return on_curve.mean(1) / torch.where(usual > 0, usual, torch.nan)


@dataclass(frozen=True)
class OodDiscriminator:
    """Share of real rows that a discriminator takes for data more than the points of the curve.

    The mean over samples is the area under its ROC curve: 1/2 where the points with the top 10, 30
    and 50 % of units removed cannot be told from data, as for a random map and draws from the true
    conditional distribution; 1 where every point is recognised. The discriminator is a
    nearest-neighbour rule on `n_rows` background rows and as many fakes with the same units
    removed, in two folds. Runs no model.
    """

    category: ClassVar[str] = "distribution"
    higher_is_better: ClassVar[bool] = False
    paper: ClassVar[str] = (
        "Lopez-Paz & Oquab 2017, arXiv:1610.06545 (two-sample test by classifier)"
    )
    baseline: Baseline
    k: int = 3
    n_rows: int = 64

    def score(self, case: Case) -> Tensor:
        """`[B]`, from 0 to 1."""
        return case.measure(DiscriminatorRanks(self.baseline, self.k, self.n_rows)).mean(1)
