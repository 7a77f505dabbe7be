"""LIME: a weighted linear model around one sample, of the presence of its units."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xai_bench.explainers.removal import paired_sampling
from xai_bench.explainers.removal.engine import (
    CoalitionSampler,
    UnitAttributions,
    in_chunks,
    row_matmul,
)
from xai_bench.explainers.removal.regression import Normal, Regression, lasso
from xai_bench.types import Kind, Range, Rng


@dataclass(frozen=True)
class LIME(CoalitionSampler):
    """Coefficients of a ridge regression of the output on which units are present.

    Every unit is kept with chance 1/2; the first coalition keeps all. A coalition weighs
    `exp(-(d / width)^2)`, with `d` its cosine distance from the full one. `budget` bounds the
    model rows per sample, of which a coalition costs one per reference. Ribeiro+ 2016.
    """

    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "surrogate"
    paper: ClassVar[str] = "Ribeiro+ 2016, arXiv:1602.04938"
    version: ClassVar[int] = 3
    search: ClassVar[Mapping[str, Range]] = {
        "width": Range(0.05, 2.0, log=True),
        "ridge": Range(1e-4, 100.0, log=True),
    }

    width: float = 0.25
    ridge: float = 1.0

    def least(self, n_units: int) -> int:
        return n_units + 1

    def n_coalitions(self, n_units: int, most: int) -> int:
        return most

    def design(self, n_units: int, n_coalitions: int, *, rng: Rng) -> Tensor:
        return full_and_fair(n_units, n_coalitions, rng=rng)

    def solve(self, kept: Tensor, values: Tensor) -> UnitAttributions:
        weight = cosine_kernel(kept, self.width)
        design, response = centred(kept, values, weight)
        return Regression(design, weight, ridge=self.ridge).credits(response)


@dataclass(frozen=True)
class LassoLIME(CoalitionSampler):
    """LIME whose regression punishes the sum of the sizes of the coefficients: few units remain.

    `alpha` is that of `sum(w * (y - Z b)^2) / (2 sum w) + alpha |b|_1`, in units of the output.
    Errors take what is 0 for known (Fan & Li 2001). Ribeiro+ 2016; Tibshirani 1996.
    """

    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "surrogate"
    paper: ClassVar[str] = "Ribeiro+ 2016, arXiv:1602.04938; Tibshirani 1996"
    version: ClassVar[int] = 2

    width: float = 0.25
    alpha: float = 0.01

    def least(self, n_units: int) -> int:
        return n_units + 1

    def n_coalitions(self, n_units: int, most: int) -> int:
        return most

    def design(self, n_units: int, n_coalitions: int, *, rng: Rng) -> Tensor:
        return full_and_fair(n_units, n_coalitions, rng=rng)

    def solve(self, kept: Tensor, values: Tensor) -> UnitAttributions:
        weight = cosine_kernel(kept, self.width)
        weight = weight / weight.sum()
        design, response = centred(kept, values, weight)
        weighted = design * weight[:, None]
        gram = (weighted.mT @ design).expand(len(values), -1, -1)
        right = row_matmul(response, weighted)
        found = lasso(gram, right, self.alpha)
        missed = response - row_matmul(found, design.mT)
        parts = in_chunks(len(values), design.numel())
        errors = [self._errors(weighted, gram[s], right[s], found[s], missed[s]) for s in parts]
        return UnitAttributions(found, torch.cat(errors))

    def _errors(
        self, weighted: Tensor, gram: Tensor, right: Tensor, found: Tensor, missed: Tensor
    ) -> Tensor:
        """`[b, u]`: those of the ridge whose solution is the lasso's, on what is not 0."""
        active = found != 0
        penalty = torch.where(active, self.alpha / found.abs().clamp(min=1e-300), 1.0)
        own = torch.where(active[:, :, None] & active[:, None], gram, 0)
        scatter = weighted * active[:, None] * missed[..., None]
        errors = Normal(own, right, penalty.diag_embed()).errors(
            scatter.mT @ scatter, len(weighted)
        )
        return torch.where(active, errors, 0)


def full_and_fair(n_units: int, n_coalitions: int, *, rng: Rng) -> Tensor:
    """`[K, u]` bool: all units, then coalitions in which each is kept with chance 1/2."""
    full = torch.ones(1, n_units, dtype=torch.bool)
    return torch.cat([full, paired_sampling.coins(n_units, n_coalitions - 1, rng=rng)])


def cosine_kernel(kept: Tensor, width: float) -> Tensor:
    """`[K, u] -> [K]`: the weight of each coalition by its cosine distance from the full one."""
    distance = 1 - kept.double().mean(1).sqrt()
    return torch.exp(-((distance / width) ** 2))


def centred(kept: Tensor, values: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """`[K, u], [b, K]`: membership and values less their weighted means: a free intercept."""
    share = (weight / weight.sum())[:, None]
    member = kept.double()
    return member - (share * member).sum(0), values - row_matmul(values, share)
