"""LIME: a weighted linear model around one sample, of the presence of its units."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xai_bench.explainers.removal import paired_sampling
from xai_bench.explainers.removal.engine import CoalitionSampler, UnitAttributions
from xai_bench.explainers.removal.regression import Normal, Regression, lasso
from xai_bench.explainers.removal.row_products import in_chunks, row_matmul
from xai_bench.types import Kind, Range, Rng


@dataclass(frozen=True)
class _LIMESampler(CoalitionSampler):
    """Base of regressions on which units are present.

    Attributes:
        width: of the kernel, in cosine distance from the full coalition.
    """

    width: float = 0.25

    def least(self, n_units: int) -> int:
        """One coalition more than there are coefficients."""
        return n_units + 1

    def n_coalitions(self, n_units: int, most: int) -> int:
        """All that are allowed."""
        return most

    def design(self, n_units: int, n_coalitions: int, *, rng: Rng) -> Tensor:
        """`kept [K, u]`: all units, then coalitions in which each is kept with chance 1/2."""
        full = torch.ones(1, n_units, dtype=torch.bool)
        return torch.cat([full, paired_sampling.fair_coins(n_units, n_coalitions - 1, rng=rng)])


@dataclass(frozen=True)
class LIME(_LIMESampler):
    """Coefficients of a ridge regression of the output on which units are present.

    Every unit is kept with chance 1/2; the first coalition keeps all. A coalition weighs
    `exp(-(d / width)^2)`, with `d` its cosine distance from the full one. `budget` bounds the
    model rows per sample, of which a coalition costs one per reference. Ribeiro+ 2016.
    """

    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "surrogate"
    paper: ClassVar[str] = "Ribeiro+ 2016, arXiv:1602.04938"
    version: ClassVar[int] = 5
    search: ClassVar[Mapping[str, Range]] = {
        "width": Range(0.05, 2.0, log=True),
        "ridge": Range(1e-4, 100.0, log=True),
    }
    # Drawn columns correlate by chance.
    breaks_axioms: ClassVar[tuple[str, ...]] = ("dummy", "symmetry")

    ridge: float = 1.0

    def solve(self, kept: Tensor, values: Tensor) -> UnitAttributions:
        """The ridge regression with a free intercept, and its errors."""
        weight = cosine_kernel(kept, self.width)
        design, response = centred(kept, values, weight)
        return Regression(design, weight, ridge=self.ridge).attributions(response)


@dataclass(frozen=True)
class LassoLIME(_LIMESampler):
    """LIME whose regression punishes the sum of the sizes of the coefficients: few units remain.

    `alpha` is that of `sum(w * (y - Z b)^2) / (2 sum w) + alpha |b|_1`, in units of the output.
    Errors take what is 0 for known (Fan & Li 2001). Ribeiro+ 2016; Tibshirani 1996.
    """

    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "surrogate"
    paper: ClassVar[str] = "Ribeiro+ 2016, arXiv:1602.04938; Tibshirani 1996"
    version: ClassVar[int] = 3
    # Drawn columns correlate by chance; small ones are left out.
    breaks_axioms: ClassVar[tuple[str, ...]] = ("dummy", "symmetry", "linearity")

    alpha: float = 0.01

    def solve(self, kept: Tensor, values: Tensor) -> UnitAttributions:
        """The lasso with a free intercept, and its errors."""
        weight = cosine_kernel(kept, self.width)
        weight = weight / weight.sum()
        design, response = centred(kept, values, weight)
        weighted = design * weight[:, None]
        gram = (weighted.mT @ design).expand(len(values), -1, -1)
        right = row_matmul(response, weighted)
        coefficients = lasso(gram, right, self.alpha)
        residual = response - row_matmul(coefficients, design.mT)
        parts = in_chunks(len(values), design.numel())
        errors = [
            self._errors(weighted, gram[s], right[s], coefficients[s], residual[s]) for s in parts
        ]
        return UnitAttributions(coefficients, torch.cat(errors))

    def _errors(
        self, weighted: Tensor, gram: Tensor, right: Tensor, coefficients: Tensor, residual: Tensor
    ) -> Tensor:
        """`[b, u]`: those of the ridge whose solution is the lasso's, on what is not 0."""
        active = coefficients != 0
        # alpha |b| has the slope of the ridge (alpha / |b|) b^2 / 2 at the solution.
        penalty = torch.where(active, self.alpha / coefficients.abs().clamp(min=1e-300), 1.0)
        active_gram = torch.where(active[:, :, None] & active[:, None], gram, 0)
        scores = weighted * active[:, None] * residual[..., None]
        normal = Normal(active_gram, right, penalty.diag_embed())
        errors = normal.errors(scores.mT @ scores, len(weighted))
        return torch.where(active, errors, 0)


def cosine_kernel(kept: Tensor, width: float) -> Tensor:
    """`[K, u] -> [K]`: the weight of each coalition by its cosine distance from the full one."""
    # The cosine of a 0/1 vector and the vector of ones is the root of the share of ones.
    distance = 1 - kept.double().mean(1).sqrt()
    return torch.exp(-((distance / width) ** 2))


def centred(kept: Tensor, values: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """`[K, u], [b, K]`: membership and values less their weighted means: a free intercept."""
    share = (weight / weight.sum())[:, None]
    member = kept.double()
    return member - (share * member).sum(0), values - row_matmul(values, share)
