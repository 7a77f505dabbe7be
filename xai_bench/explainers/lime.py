"""LIME: a weighted linear model around one sample."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xai_bench.explainers.credit import Credits, answers, sampled_rows
from xai_bench.explainers.regression import least_squares
from xai_bench.types import Answer, Baseline, Inputs, Kind, Model, Rng, Rows


@dataclass(frozen=True)
class LIME:
    """Coefficients of a ridge regression of the output on which units are present.

    Every unit is kept with chance 1/2; the first coalition keeps all. A coalition weighs
    `exp(-(d / width)^2)`, with `d` its cosine distance from the full one. `budget` bounds the
    model rows per sample, of which a coalition costs one per reference. Ribeiro+ 2016.
    """

    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "surrogate"
    needs: ClassVar[tuple[str, ...]] = ()
    paper: ClassVar[str] = "Ribeiro+ 2016, arXiv:1602.04938"
    version: ClassVar[int] = 2

    baseline: Baseline
    budget: int = 512
    width: float = 0.25
    ridge: float = 1.0

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Tensor:
        return self.answer(model, inputs, targets, rng=rng).attribution

    def answer(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Answer:
        return next(self.anytime(model, inputs, targets, (self.budget,), rng=rng))

    def anytime(
        self, model: Model, inputs: Inputs, targets: Tensor, budgets: Sequence[int], *, rng: Rng
    ) -> Iterator[Answer]:
        return answers(self, model, inputs, targets, budgets, rng=rng)

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        return sampled_rows(self, self.budget, n_units, n_references)

    def least(self, n_units: int) -> int:
        return n_units + 1

    def n_coalitions(self, n_units: int, most: int) -> int:
        return most

    def plan(self, n_units: int, n_coalitions: int, *, rng: Rng) -> Tensor:
        drawn = rng.uniform(n_coalitions - 1, n_units) < 0.5
        full = torch.ones(len(drawn), 1, n_units, dtype=torch.bool)
        return torch.cat([full, drawn], dim=1)

    def solve(self, kept: Tensor, values: Tensor) -> Credits:
        member = kept.double()
        distance = 1 - member.mean(2).sqrt()
        weight = torch.exp(-((distance / self.width) ** 2))
        share = (weight / weight.sum(1, keepdim=True))[..., None]
        centred = member - (share * member).sum(1, keepdim=True)
        response = values - (share[..., 0] * values).sum(1, keepdim=True)
        return Credits(least_squares(centred, response, weight, self.ridge))
