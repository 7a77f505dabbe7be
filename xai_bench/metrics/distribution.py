"""Is the model asked about points that look like data?

A property of baseline, ranking and data: beside a fidelity score it says how far to trust it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xai_bench.metrics.probes.removal.data_distance import DataDistances, VisitedDistances
from xai_bench.metrics.probes.removal.discriminator import LooksLessReal
from xai_bench.types import Baseline, Case


@dataclass(frozen=True)
class OodKnnRatio:
    """Distance of the points of the removal curve to the data, relative to that within the data.

    Mean over the points with the top 10, 30 and 50 % of units removed of the distance to the `k`-th
    nearest background row, over the median of that distance for background rows themselves. Above
    1: off the data. Below 1: closer to others than data are, as what is averaged. NaN where most
    background rows are equal. Runs no model.
    """

    category: ClassVar[str] = "distribution"
    higher_is_better: ClassVar[bool] = False
    paper: ClassVar[str] = "Hase+ 2021, arXiv:2106.00786 (the question, not the ratio)"
    baseline: Baseline
    k: int = 5

    def score(self, case: Case) -> Tensor:
        visited = case.measure(VisitedDistances(self.baseline, self.k))
        usual = case.measure(DataDistances(self.k)).median(dim=1).values
        return visited.mean(1) / torch.where(usual > 0, usual, torch.nan)


@dataclass(frozen=True)
class OodDiscriminator:
    """Share of real rows that a discriminator finds more like data than the curve's points.

    The mean over samples is the area under its ROC curve: 1/2 where the points with the top 10, 30
    and 50 % of units removed cannot be told from data, as for a random map and draws from the true
    conditional law; 1 where they are given away. A nearest-neighbour rule on `n_rows` background
    rows and as many fakes with the same units removed, in two folds. Runs no model.
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
        return case.measure(LooksLessReal(self.baseline, self.k, self.n_rows)).mean(1)
