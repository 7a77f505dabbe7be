"""LIME: a weighted linear model around one sample."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xai_bench.explainers.credit import credit, least_squares, require_budget
from xai_bench.types import Baseline, Inputs, Kind, Model, Rng, Rows


@dataclass(frozen=True)
class LIME:
    """Coefficients of a ridge regression of the output on which units are present.

    Every unit is kept with chance 1/2; the first coalition keeps all. A coalition weighs
    `exp(-(d / width)^2)`, with `d` its cosine distance from the full one. `budget` is the number of
    coalitions per sample, each of which costs a row per reference. Ribeiro+ 2016.
    """

    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "surrogate"
    needs: ClassVar[tuple[str, ...]] = ()
    paper: ClassVar[str] = "Ribeiro+ 2016, arXiv:1602.04938"
    version: ClassVar[int] = 1

    baseline: Baseline
    budget: int = 512
    width: float = 0.25
    ridge: float = 1.0

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Tensor:
        return credit(self, model, inputs, targets, rng=rng)

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        return Rows(self.n_coalitions(n_units) * n_references)

    def n_coalitions(self, n_units: int) -> int:
        return self.budget

    def n_draws(self, n_units: int) -> int:
        return max(self.budget - 1, 0)

    def plan(self, n_units: int, draws: Tensor) -> Tensor:
        require_budget(self.budget, n_units + 1, n_units)
        full = torch.ones(len(draws), 1, n_units, dtype=torch.bool)
        return torch.cat([full, draws[..., :n_units] < 0.5], dim=1)

    def solve(self, kept: Tensor, values: Tensor) -> Tensor:
        member = kept.double()
        distance = 1 - member.mean(2).sqrt()
        weight = torch.exp(-((distance / self.width) ** 2))
        share = (weight / weight.sum(1, keepdim=True))[..., None]
        centred = member - (share * member).sum(1, keepdim=True)
        response = values - (share[..., 0] * values).sum(1, keepdim=True)
        return least_squares(centred, response, weight, self.ridge)
