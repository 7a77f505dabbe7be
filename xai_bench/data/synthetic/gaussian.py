"""Correlated columns with a known distribution, so that conditional expectations are exact."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import comb
from typing import Literal

import torch
from torch import Tensor, nn

from xai_bench.data.bundle import Bundle
from xai_bench.data.synthetic.functions import WeightedTable, linear_terms
from xai_bench.data.synthetic.truths import Multilinear, Truth
from xai_bench.types import Rng

MAX_COLUMNS = 12
"""The conditional game is summed over all coalitions, 4096 for so many columns."""


@dataclass(frozen=True, eq=False)
class GaussianDistribution:
    """A normal distribution with `mean [F]` and `covariance [F, F]`, float64."""

    mean: Tensor
    covariance: Tensor

    def draw(self, rng: Rng) -> Tensor:
        """`[B, F]` float64 rows, one for each row of `rng`."""
        root: Tensor = torch.linalg.cholesky(self.covariance)
        return self.mean + rng.normal(len(self.mean)) @ root.T

    def conditional(self, kept: Tensor) -> tuple[Tensor, Tensor]:
        """`kept [F]` bool `-> gain [F, F], covariance [F, F]` of x given its kept columns.

        The mean is `mean + gain @ (x - mean)`, which is x itself where kept; the covariance is 0
        in kept rows and columns.
        """
        eye = torch.eye(len(kept), dtype=self.covariance.dtype)[kept]
        regression = torch.linalg.solve(eye @ self.covariance @ eye.T, eye @ self.covariance)
        # The regression of all columns on the kept ones, with zeros in the columns of the others.
        gain = regression.T @ eye
        spread = self.covariance - gain @ self.covariance
        absent = (~kept).to(spread)
        return gain, spread * absent[:, None] * absent

    def conditional_mean(self, kept: Tensor, x: Tensor) -> Tensor:
        """`kept [F]` bool, `x [B, F] -> [B, F]`: expectation given the kept columns."""
        gain, _ = self.conditional(kept)
        return self.mean + (x - self.mean) @ gain.to(x).T


def conditional_shapley(distribution: GaussianDistribution, weights: Tensor) -> Tensor:
    """`weights [F] -> [F, F]`: row i times `x - mean` is feature i's Shapley value.

    The game is `v(S) = E[weights . x | x_S]` (Lundberg & Lee 2017; Aas+ 2021), linear in x for a
    normal distribution, hence so are its Shapley values. Sums over all `2 ** F` coalitions; raises
    ValueError for more than `MAX_COLUMNS`.
    """
    n = len(weights)
    if n > MAX_COLUMNS:
        raise ValueError(
            f"the conditional game sums over all coalitions of at most {MAX_COLUMNS} columns; "
            f"found {n}; give fewer data.weights or set data.game=interventional"
        )
    kept = (torch.arange(2**n)[:, None] >> torch.arange(n)) % 2 == 1
    values = torch.stack([weights @ distribution.conditional(row)[0] for row in kept])
    rows = []
    for feature in range(n):
        without = torch.nonzero(~kept[:, feature])[:, 0]
        sizes = kept[without].sum(1).tolist()
        # The share of orders in which just these columns come before the feature.
        share = values.new_tensor([1 / (n * comb(n - 1, size)) for size in sizes])
        rows.append(share @ (values[without + 2**feature] - values[without]))
    return torch.stack(rows)


@dataclass(frozen=True)
class CorrelatedGaussian(WeightedTable):
    """A weighted sum of correlated normal columns with a known distribution.

    Mean 0, variance 1, correlation `rho ** |i - j|`. `game` says which truth is meant.
    `interventional`: absent columns are 0, so truth is weight times value and a column that is not
    read gets 0. `conditional`: absent columns are averaged given the present ones, so a column that
    is not read gets a share for its correlation with those that are.
    """

    weights: Sequence[float] = (1.0, 0.0, -0.8, 0.0, 0.5, 0.0)
    rho: float = 0.6
    game: Literal["interventional", "conditional"] = "interventional"

    def distribution(self) -> GaussianDistribution:
        """The exact distribution of x. Raises ValueError for a `rho` that is no correlation."""
        if not -1 < self.rho < 1:
            raise ValueError(f"data.rho must lie between -1 and 1; found {self.rho}")
        n = len(self.weights)
        lag = (torch.arange(n)[:, None] - torch.arange(n)).abs().double()
        return GaussianDistribution(torch.zeros(n, dtype=torch.float64), self.rho**lag)

    def draw(self, rng: Rng) -> Tensor:
        """`[B, F]` float64 correlated columns."""
        return self.distribution().draw(rng)

    def score(self) -> nn.Module:
        """The weighted sum."""
        return Multilinear(len(self.weights), linear_terms(self.weights))

    def load(self) -> Bundle:
        """Draw the rows. Raises ValueError for an unknown `game`."""
        distribution = self.distribution()
        bundle = replace(super().load(), distribution=distribution)
        if self.game == "interventional":
            return bundle
        if self.game != "conditional":
            raise ValueError(
                f"data.game must be interventional or conditional; found {self.game!r}"
            )
        weights = torch.tensor(list(self.weights), dtype=torch.float64)
        matrix = conditional_shapley(distribution, weights)
        # Two games on one data set: which of them is true of a column nobody reads is a choice.
        return replace(bundle, truth=Truth(lambda x: x @ matrix.to(x).T, self.task))
