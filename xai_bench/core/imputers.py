"""Baselines that look at what is kept: absent elements are drawn given the present ones.

A sample's draws are the same for all of its coalitions, whichever batch or block they come in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xai_bench.core import units
from xai_bench.core.tokens import require_numbers
from xai_bench.types import Domain, Inputs, Rng, Unsupported

_ROUNDING = 1e-9
"""Below this share of its variance, a column is a function of others and tells nothing new."""


def no_references(name: str) -> Unsupported:
    """The reason why an imputer has no references."""
    return Unsupported(
        f"baseline {name} depends on which units are kept, so there are no references to start "
        "from; use it with removal, or take baseline mean or marginal"
    )


@dataclass(frozen=True)
class ConditionalGaussian:
    """Normal draws of the absent elements given the kept ones. Aas+ 2021, arXiv:1903.10464.

    Exact where the distribution of x is known; elsewhere it is taken for normal, with the
    background's mean and variances, and with its correlations shrunk by `shrinkage`. Draws come in
    pairs, mirrored at the conditional mean, so that an even `n_draws` is exact for linear models.
    Element by element: a one-hot column gets a value between its codes.
    """

    # What correlates with a column in use is of use; rows in which columns differ.
    breaks_axioms: ClassVar[tuple[str, ...]] = ("dummy", "symmetry")

    n_draws: int = 8
    shrinkage: float = 0.05
    max_elements: int = 128

    @property
    def n_references(self) -> int:
        """Draws per coalition."""
        return self.n_draws

    def references(self, inputs: Inputs, *, rng: Rng) -> Tensor:
        """Raises `Unsupported`: see `no_references`."""
        raise no_references("conditional_gaussian")

    def impute(self, inputs: Inputs, kept: Tensor, *, rng: Rng) -> Tensor:
        """`kept [B, K, U] -> [B, K, R, *S]`; raises `Unsupported` beyond `max_elements`."""
        require_numbers(inputs.domain, "baseline conditional_gaussian")
        x = inputs.x.flatten(1).double()
        if x.shape[1] > self.max_elements:
            raise Unsupported(
                f"conditional normal draws of {x.shape[1]} elements need as many columns and rows "
                f"of covariance; the limit is max_elements={self.max_elements}"
            )
        mean, covariance = self._distribution(inputs.domain)
        is_kept = units.kept_elements(kept, inputs.units)
        normal = rng.child("conditional_gaussian").normal((self.n_draws + 1) // 2, x.shape[1])
        # Mirrored draws have exactly the conditional mean, which is all that a linear model sees.
        pairs = torch.stack([normal, -normal], dim=2).flatten(1, 2)[:, : self.n_draws]
        # Whole rows are drawn and then moved to agree with what is kept (kriging): one root of the
        # covariance serves every coalition.
        drawn = mean + _apply(_root(covariance), pairs)
        gain = regression(covariance, is_kept.flatten(2))
        filled = drawn[:, None] + _apply(gain[:, :, None], (x[:, None] - drawn)[:, None])
        filled = filled.view(*is_kept.shape[:2], self.n_draws, *inputs.x.shape[1:]).to(inputs.x)
        return torch.where(is_kept[:, :, None], inputs.x[:, None, None], filled)

    def _distribution(self, domain: Domain) -> tuple[Tensor, Tensor]:
        """`mean [F]`, `covariance [F, F]`, of the known distribution or of the background."""
        if domain.distribution is not None:
            return domain.distribution.mean.double(), domain.distribution.covariance.double()
        rows = domain.background.flatten(1).double()
        centred = rows - rows.mean(0)
        covariance = centred.T @ centred / len(rows)
        # Few rows overstate correlations; variances are kept.
        shrunk = self.shrinkage * (1 - torch.eye(len(covariance)).to(covariance))
        return rows.mean(0), covariance * (1 - shrunk)


@dataclass(frozen=True)
class ConditionalNeighbours:
    """Draws, with replacement, among the `k` background rows nearest on the kept elements.

    Distances are Euclidean in standard deviations; equally near rows are drawn alike, so that with
    nothing kept every background row is as likely.
    """

    # What correlates with a column in use is of use; rows in which columns differ.
    breaks_axioms: ClassVar[tuple[str, ...]] = ("dummy", "symmetry")

    n_draws: int = 8
    k: int = 10

    @property
    def n_references(self) -> int:
        """Draws per coalition."""
        return self.n_draws

    def references(self, inputs: Inputs, *, rng: Rng) -> Tensor:
        """Raises `Unsupported`: see `no_references`."""
        raise no_references("conditional_knn")

    def impute(self, inputs: Inputs, kept: Tensor, *, rng: Rng) -> Tensor:
        """`kept [B, K, U] -> [B, K, R, *S]`."""
        require_numbers(inputs.domain, "baseline conditional_knn")
        domain, rng = inputs.domain, rng.child("conditional_knn")
        n_rows = len(domain.background)
        # Rows in a random order, of which a stable sort keeps those that are equally near.
        shuffle = rng.child("ties").uniform(n_rows).argsort(dim=1, stable=True)
        in_shuffled_order = shuffle[:, None].expand(-1, kept.shape[1], -1)
        distance = _distances(inputs, kept).gather(2, in_shuffled_order)
        # The nearest only, unweighted: a kernel would need a width for every coalition.
        near = distance.argsort(dim=2, stable=True)[:, :, : self.k]
        # The same places for all coalitions of a sample, so that their values differ by what is
        # kept.
        chosen = rng.integers(min(self.k, n_rows), self.n_draws)
        place = near.gather(2, chosen[:, None].expand(-1, kept.shape[1], -1))
        rows = shuffle.gather(1, place.flatten(1)).view_as(place)
        is_kept = units.kept_elements(kept, inputs.units)[:, :, None]
        return torch.where(is_kept, inputs.x[:, None, None], domain.background[rows].to(inputs.x))


def regression(covariance: Tensor, given: Tensor) -> Tensor:
    """`covariance [F, F], given [B, K, F]` bool `-> [B, K, F, F]`: the rest's slopes on the given.

    The expectation of x is `mean + slopes @ (x - mean)` where not given; rows of given elements and
    columns of others are 0. One column at a time is swept (Goodnight 1979); one that is a function
    of those before it is passed over.
    """
    table = covariance.expand(*given.shape[:2], *covariance.shape)
    swept = torch.zeros_like(given)
    for column in range(given.shape[2]):
        pivot = table[..., column, column]
        is_new = given[..., column] & (pivot > _ROUNDING * covariance[column, column])
        # A column that follows from those before it has no variance left to divide by.
        swept[..., column] = is_new
        table = torch.where(is_new[..., None, None], _sweep(table, column, pivot), table)
    return table * swept[..., None, :] * ~given[..., None]


def _sweep(table: Tensor, column: int, pivot: Tensor) -> Tensor:
    """`[B, K, F, F]`: the column's share is regressed out of all others."""
    slope = table[..., column] / torch.where(pivot > 0, pivot, 1)[..., None]
    out = table - slope[..., :, None] * table[..., column, None, :]
    out[..., :, column] = slope
    out[..., column, :] = slope
    return out


def _root(covariance: Tensor) -> Tensor:
    """`[F, F]`: a matrix whose product with its transpose is the covariance, singular or not."""
    values, vectors = torch.linalg.eigh(covariance)
    root: Tensor = vectors * values.clamp(min=0).sqrt()
    return root


def _apply(matrix: Tensor, vector: Tensor) -> Tensor:
    """`[..., F, F], [..., F] -> [..., F]`, a column at a time: the same bits in every batch."""
    out = matrix[..., 0] * vector[..., :1]
    for column in range(1, matrix.shape[-1]):
        out = out + matrix[..., column] * vector[..., column, None]
    return out


def _distances(inputs: Inputs, kept: Tensor) -> Tensor:
    """`kept [B, K, U] -> [B, K, N]`: squared distance of the background rows on the kept units."""
    domain, n_units = inputs.domain, kept.shape[2]
    square = ((domain.background - inputs.x[:, None].double()) / domain.scale).flatten(2).square()
    layout = inputs.units.flatten(1)
    place = torch.where(layout < 0, n_units, layout)[:, None].expand_as(square)
    by_unit = square.new_zeros(*square.shape[:2], n_units + 1).scatter_add_(2, place, square)
    out = square.new_zeros(*kept.shape[:2], square.shape[1])
    # Unit by unit, for a product of matrices would round by the size of the batch.
    for unit in range(n_units):
        out += kept[:, :, unit, None] * by_unit[:, None, :, unit]
    return out
