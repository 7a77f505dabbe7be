"""Shapley values of the game in which a coalition of units is worth the model's output on it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from xai_bench.core import cooperative_games
from xai_bench.explainers.removal import paired_sampling
from xai_bench.explainers.removal.engine import (
    AllCoalitions,
    CoalitionSampler,
    NullUnits,
    UnitAttributions,
    full_and_empty,
)
from xai_bench.explainers.removal.paired_sampling import PairedSampler
from xai_bench.types import Kind, Rng


@dataclass(frozen=True)
class ExactShapley(AllCoalitions):
    """Shapley values from all `2^U` coalitions; for at most `max_units` units. Shapley 1953."""

    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "removal"
    paper: ClassVar[str] = "Shapley 1953; Lundberg & Lee 2017, arXiv:1705.07874"

    def solve(self, kept: Tensor, values: Tensor) -> UnitAttributions:
        """The values of all coalitions, `[b, 2^u]`, to Shapley values."""
        return UnitAttributions(cooperative_games.shapley_values(values))


@dataclass(frozen=True)
class PermutationShapley(CoalitionSampler):
    """The mean gain of a unit when units join in random order, each order also run backwards.

    `budget` bounds the model rows per sample, of which a coalition costs one per reference. The
    empty and the full coalition are shared by all orders. The standard error is that of a mean over
    pairs of orders. Castro+ 2009; Mitchell+ 2022.
    """

    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "removal"
    paper: ClassVar[str] = "Castro+ 2009; Mitchell+ 2022, arXiv:2104.12199"
    version: ClassVar[int] = 3
    breaks_axioms: ClassVar[tuple[str, ...]] = ("symmetry",)  # orders are drawn

    def least(self, n_units: int) -> int:
        """One pair of orders: `u - 1` coalitions each, and the two ends."""
        return 2 * n_units

    def n_coalitions(self, n_units: int, most: int) -> int:
        """The ends, and as many pairs of orders as fit; a single unit has nothing to be ordered."""
        per_pair = 2 * n_units - 2
        return 2 + ((most - 2) // per_pair * per_pair if per_pair else 0)

    def design(self, n_units: int, n_coalitions: int, *, rng: Rng) -> Tensor:
        """`kept [K, u]`: the ends, then the coalitions on the way of each order, pair by pair."""
        n_pairs = (n_coalitions - 2) // (2 * n_units - 2) if n_units > 1 else 0
        rank = rng.uniform(n_pairs, n_units)[0].argsort(1)
        # Each pair of units joins in both orders, so what two units do together is shared exactly;
        # only higher interactions are left to chance (antithetic variates).
        orders = torch.stack([rank, n_units - 1 - rank], dim=1).flatten(0, 1)
        joined = orders[:, None] < torch.arange(1, n_units)[:, None]
        return torch.cat([full_and_empty(n_units), joined.flatten(0, 1)])

    def solve(self, kept: Tensor, values: Tensor) -> UnitAttributions:
        """The mean over pairs of orders, and its standard error; NaN after a single pair.

        With one or two units every order there is has been seen, and errors are 0.
        """
        n_units = kept.shape[1]
        if n_units == 1:
            alone = values[:, :1] - values[:, 1:]
            return UnitAttributions(alone, torch.zeros_like(alone), degrees_of_freedom=math.inf)
        # A unit that joins k-th is in all but the first k coalitions on the way.
        rank = n_units - 1 - kept[2:].unflatten(0, (-1, n_units - 1)).sum(1)
        between = values[:, 2:].unflatten(1, (-1, n_units - 1))
        full, empty = (values[:, k, None, None].expand(-1, len(rank), 1) for k in (0, 1))
        gain = torch.cat([empty, between, full], dim=2).diff(dim=2).flatten(1)
        place = rank + n_units * torch.arange(len(rank))[:, None]
        # An order and its reverse depend on each other: a pair is one draw.
        by_pair = gain[:, place].unflatten(1, (-1, 2)).mean(2)
        mean, n_pairs = by_pair.mean(1), by_pair.shape[1]
        if n_units == 2:
            return UnitAttributions(mean, torch.zeros_like(mean), degrees_of_freedom=math.inf)
        # A single pair is 0 / 0, which gives the NaN that it should.
        variance = (by_pair - mean[:, None]).square().sum(1) / (n_pairs * max(n_pairs - 1, 0))
        return UnitAttributions(mean, variance.sqrt(), degrees_of_freedom=n_pairs - 1)


@dataclass(frozen=True)
class KernelSHAP(PairedSampler):
    """Shapley values as the additive game closest to the model's, by constrained least squares.

    Coalitions come with their complements: each unit alone, then others that are drawn, sizes by
    the Shapley kernel. So an additive model is explained exactly at any budget. `budget` bounds the
    model rows per sample, the empty and the full coalition among them; a coalition costs a row per
    reference. Up to 12 units, no pair is drawn twice: a budget that covers all `2^U` coalitions
    gives exact values and errors of 0. What the coalitions leave open is shared equally. Standard
    errors take the drawn pairs for independent, whatever their variance; they are NaN while those
    leave less than one degree of freedom. Covert & Lee 2021; Lundberg & Lee 2017.
    """

    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "removal"
    paper: ClassVar[str] = "Covert & Lee 2021, arXiv:2012.01536"
    version: ClassVar[int] = 5
    null_units: ClassVar[NullUnits] = "shared"

    def design(self, n_units: int, n_coalitions: int, *, rng: Rng) -> Tensor:
        """`kept [K, u]`: the ends, which are the constraint, then the pairs in `_row_order`."""
        n_pairs = max(n_coalitions // 2 - 1, len(paired_sampling.single_pairs(n_units)))
        halves = paired_sampling.draw_by_kernel(n_units, n_pairs, rng=rng)
        pairs = torch.cat([full_and_empty(n_units), paired_sampling.with_complements(halves)])
        return pairs[_row_order(n_units, len(pairs))][:n_coalitions]

    def solve(self, kept: Tensor, values: Tensor) -> UnitAttributions:
        """Equal shares of the whole change, and a correction that is orthogonal to equal shares."""
        n_units = kept.shape[1]
        if n_units > 2 and len(kept) == 2 * n_units:
            kept, values = _with_last_complements(kept, values)
        pairs = _row_order(n_units, len(kept))  # its own inverse
        total, halves = values[:, :1] - values[:, 1:2], kept[pairs][2::2]
        weights = paired_sampling.kernel_weights(halves)
        change = values[:, pairs][:, 2:]
        # It adds up to 0, so attributions add up to the whole change at any budget.
        correction = paired_sampling.closest_linear_game(halves, change, weights, total)
        return replace(correction, values=total / n_units + correction.values)


def _row_order(n_units: int, n_rows: int) -> Tensor:
    """`[K]`: the rows of pairs in the order of their evaluation: of the last two units alone, both
    come before their complements, so that `2 u` rows hold each unit alone.
    """
    order = torch.arange(n_rows)
    place = 2 * n_units - 2
    if n_units > 2 and n_rows >= place + 4:
        order[place : place + 4] = torch.tensor([place, place + 2, place + 1, place + 3])
    return order


def _with_last_complements(kept: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """`2 u` rows and values, with the two complements that they lack.

    Those are worth what they are in the game of each unit alone plus the mean of what the other
    complements are worth beyond that: nothing where the game is additive.
    """
    full, empty, alone = values[:, :1], values[:, 1:2], values[:, -2:]
    beyond = values[:, 2:-2:2] + values[:, 3:-2:2] - full - empty
    lacking = full + empty - alone + beyond.mean(1, keepdim=True)
    return torch.cat([kept, ~kept[-2:]]), torch.cat([values, lacking], dim=1)
