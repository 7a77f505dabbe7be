"""Shapley values of the game in which a coalition of units is worth the model's output on it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xai_bench import games
from xai_bench.explainers.credit import (
    credit,
    ends,
    least_squares,
    require_budget,
)
from xai_bench.types import Baseline, Inputs, Kind, Model, Rng, Rows, Unsupported


@dataclass(frozen=True)
class ExactShapley:
    """Shapley values from all `2^U` coalitions; for at most `max_units` units. Shapley 1953."""

    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "removal"
    needs: ClassVar[tuple[str, ...]] = ()
    paper: ClassVar[str] = "Shapley 1953; Lundberg & Lee 2017, arXiv:1705.07874"
    version: ClassVar[int] = 1

    baseline: Baseline
    max_units: int = 15

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Tensor:
        n_units = int(inputs.units.max()) + 1
        if n_units > self.max_units:
            raise Unsupported(
                f"exact Shapley values of {n_units} units need 2^{n_units} coalitions; "
                f"at most {self.max_units} units are allowed"
            )
        return credit(self, model, inputs, targets, rng=rng)

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        return Rows(self.n_coalitions(n_units) * n_references)

    def n_coalitions(self, n_units: int) -> int:
        return 1 << n_units

    def n_draws(self, n_units: int) -> int:
        return 0

    def plan(self, n_units: int, draws: Tensor) -> Tensor:
        return games.all_coalitions(n_units)

    def solve(self, kept: Tensor, values: Tensor) -> Tensor:
        return games.shapley_values(values)


@dataclass(frozen=True)
class PermutationShapley:
    """The mean gain of a unit when units join in random order, each order also run backwards.

    `budget` bounds the coalitions per sample, each of which costs a row per reference. The empty
    and the full coalition are shared by all orders. More budget keeps the orders already drawn.
    Castro+ 2009; Mitchell+ 2022.
    """

    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "removal"
    needs: ClassVar[tuple[str, ...]] = ()
    paper: ClassVar[str] = "Castro+ 2009; Mitchell+ 2022, arXiv:2104.12199"
    version: ClassVar[int] = 1

    baseline: Baseline
    budget: int = 512

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Tensor:
        return credit(self, model, inputs, targets, rng=rng)

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        return Rows(self.n_coalitions(n_units) * n_references)

    def n_coalitions(self, n_units: int) -> int:
        return 2 + 2 * self.n_draws(n_units) * (n_units - 1)

    def n_draws(self, n_units: int) -> int:
        """How many pairs of orders; a single unit has nothing to be ordered."""
        return max(self.budget - 2, 0) // (2 * n_units - 2) if n_units > 1 else 0

    def plan(self, n_units: int, draws: Tensor) -> Tensor:
        require_budget(self.budget, 2 * n_units, n_units)
        rank = draws[..., :n_units].argsort(2)
        orders = torch.stack([rank, n_units - 1 - rank], dim=2).flatten(1, 2)
        joined = orders[:, :, None] < torch.arange(1, n_units)[:, None]
        return torch.cat([ends(len(draws), n_units), joined.flatten(1, 2)], dim=1)

    def solve(self, kept: Tensor, values: Tensor) -> Tensor:
        n_units = kept.shape[2]
        if n_units == 1:
            return values[:, :1] - values[:, 1:]
        rank = (~kept[:, 2:]).unflatten(1, (-1, n_units - 1)).sum(2)
        between = values[:, 2:].unflatten(1, (-1, n_units - 1))
        full, empty = (values[:, k, None, None].expand(-1, rank.shape[1], 1) for k in (0, 1))
        gain = torch.cat([empty, between, full], dim=2).diff(dim=2)
        return gain.gather(2, rank).mean(1)


@dataclass(frozen=True)
class KernelSHAP:
    """Shapley values as the additive game closest to the model's, by constrained least squares.

    Coalitions are drawn with their complements, sizes by the Shapley kernel. `budget` bounds the
    coalitions per sample, the empty and the full one among them, each of which costs a row per
    reference; where it covers all `2^U`, they are enumerated and the values are exact. What the
    coalitions leave open is shared equally. Covert & Lee 2021.
    """

    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "removal"
    needs: ClassVar[tuple[str, ...]] = ()
    paper: ClassVar[str] = "Covert & Lee 2021, arXiv:2012.01536"
    version: ClassVar[int] = 1

    baseline: Baseline
    budget: int = 512

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Tensor:
        return credit(self, model, inputs, targets, rng=rng)

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        return Rows(self.n_coalitions(n_units) * n_references)

    def n_coalitions(self, n_units: int) -> int:
        return 1 << n_units if self._exact(n_units) else 2 + 2 * self.n_draws(n_units)

    def n_draws(self, n_units: int) -> int:
        """How many pairs of a coalition and its complement."""
        return 0 if self._exact(n_units) else max(self.budget - 2, 0) // 2

    def plan(self, n_units: int, draws: Tensor) -> Tensor:
        if self._exact(n_units):
            return games.all_coalitions(n_units).roll(1, 0)  # full first, then empty
        require_budget(self.budget, 2 * n_units, n_units)
        drawn = _kernel_coalitions(draws[..., 0], draws[..., 1:])
        pairs = torch.stack([drawn, ~drawn], dim=2).flatten(1, 2)
        return torch.cat([ends(len(draws), n_units), pairs], dim=1)

    def solve(self, kept: Tensor, values: Tensor) -> Tensor:
        """Equal shares of the whole change, and a correction that is orthogonal to equal shares."""
        n_units = kept.shape[2]
        full, empty = values[:, :1], values[:, 1:2]
        member = kept[:, 2:].double()
        size = member.sum(2, keepdim=True)
        surplus = values[:, 2:] - empty - (full - empty) * size[..., 0] / n_units
        weight = torch.ones_like(surplus)
        if self._exact(n_units):
            weight = _kernel(n_units)[size[..., 0].long() - 1]
        return (full - empty) / n_units + least_squares(member - size / n_units, surplus, weight)

    def _exact(self, n_units: int) -> bool:
        return 1 << n_units <= self.budget


def _kernel(n_units: int) -> Tensor:
    """`[u - 1]`: the Shapley kernel of one coalition of size 1, 2, ..., u - 1."""
    sizes = range(1, n_units)
    weights = [(n_units - 1) / (math.comb(n_units, s) * s * (n_units - s)) for s in sizes]
    return torch.tensor(weights, dtype=torch.float64)


def _kernel_coalitions(size_draw: Tensor, priority: Tensor) -> Tensor:
    """`[b, n], [b, n, u] -> [b, n, u]` bool: sizes by the Shapley kernel, members at random."""
    n_units = priority.shape[2]
    sizes = torch.arange(1, n_units, dtype=torch.float64)
    chance = 1 / (sizes * (n_units - sizes))
    below = (chance / chance.sum()).cumsum(0)[:-1]
    size = 1 + torch.searchsorted(below, size_draw.contiguous())
    return priority < priority.sort(2).values.gather(2, size[..., None])
