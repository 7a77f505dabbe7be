"""LIME: a weighted linear model around one sample, of the presence of its units."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xai_bench.explainers.removal import paired_sampling
from xai_bench.explainers.removal.engine import CoalitionSampler, UnitAttributions
from xai_bench.explainers.removal.regression import Regression, lasso
from xai_bench.explainers.removal.row_products import row_matmul
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
    model rows per sample, of which a coalition costs one per reference. Errors are around the limit
    of large budgets, in which no ridge is left. Ribeiro+ 2016.
    """

    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "surrogate"
    paper: ClassVar[str] = "Ribeiro+ 2016, arXiv:1602.04938"
    version: ClassVar[int] = 6
    search: ClassVar[Mapping[str, Range]] = {
        "width": Range(0.05, 2.0, log=True),
        "ridge": Range(1e-4, 100.0, log=True),
    }
    # Drawn columns correlate by chance.
    breaks_axioms: ClassVar[tuple[str, ...]] = ("dummy", "symmetry")

    # The default of the lime library, in units of the summed weights of coalitions.
    ridge: float = 1.0

    def solve(self, kept: Tensor, values: Tensor) -> UnitAttributions:
        """The ridge regression with a free intercept, and its errors."""
        weight = cosine_kernel(kept, self.width)
        design, response = centred(kept, values, weight)
        fit = Regression(design, weight, ridge=self.ridge, centred=True)
        return fit.attributions(response)


@dataclass(frozen=True)
class LassoLIME(_LIMESampler):
    """LIME whose regression punishes the sum of the sizes of the coefficients: few units remain.

    `alpha` is that of `sum(w * (y - Z b)^2) / (2 sum w) + alpha |b|_1`, in units of the output.
    No errors are stated: one that takes what is 0 for known covers too little, because which units
    are left out depends on the draws. Ribeiro+ 2016; Tibshirani 1996.
    """

    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "surrogate"
    paper: ClassVar[str] = "Ribeiro+ 2016, arXiv:1602.04938; Tibshirani 1996"
    version: ClassVar[int] = 4
    # Drawn columns correlate by chance; small ones are left out.
    breaks_axioms: ClassVar[tuple[str, ...]] = ("dummy", "symmetry", "linearity")

    # Captum's default. It is in units of the output: one that hardly moves gets a map of zeros.
    alpha: float = 0.01

    def solve(self, kept: Tensor, values: Tensor) -> UnitAttributions:
        """The lasso with a free intercept."""
        weight = cosine_kernel(kept, self.width)
        weight = weight / weight.sum()
        design, response = centred(kept, values, weight)
        weighted = design * weight[:, None]
        gram = (weighted.mT @ design).expand(len(values), -1, -1)
        return UnitAttributions(lasso(gram, row_matmul(response, weighted), self.alpha))


def cosine_kernel(kept: Tensor, width: float) -> Tensor:
    """`[K, u] -> [K]`: the weight of each coalition by its cosine distance from the full one.

    Raises ValueError for a width that is no width.
    """
    if not width > 0:
        raise ValueError(f"the kernel's width is {width}; expected a number above 0")
    # The cosine of a 0/1 vector and the vector of ones is the root of the share of ones.
    distance = 1 - kept.double().mean(1).sqrt()
    # The kernel of the paper; the lime library takes its root, which is a width 1.41 times as
    # large.
    return torch.exp(-((distance / width) ** 2))


def centred(kept: Tensor, values: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """`[K, u], [b, K]`: membership and values less their weighted means: a free intercept."""
    share = (weight / weight.sum())[:, None]
    member = kept.double()
    # By weighted means of both sides, which is a free intercept that no penalty touches.
    return member - (share * member).sum(0), values - row_matmul(values, share)
