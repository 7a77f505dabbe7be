"""Shapley interactions: what pairs of units do together beyond what each does alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
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
from xai_bench.explainers.removal.row_products import in_chunks, row_matmul
from xai_bench.types import Kind, Rng


@dataclass(frozen=True)
class ExactInteractions(AllCoalitions):
    """Shapley values split into what a unit does alone and its half of what it does in each pair.

    `Explanation.interactions` holds half the Shapley interaction index of each pair, and on its
    diagonal the rest of the unit's Shapley value, which is the attribution: rows add up to it. From
    all `2^U` coalitions; for at most `max_units` units. Grabisch & Roubens 1999; Lundberg+ 2020.
    """

    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "removal"
    paper: ClassVar[str] = "Grabisch & Roubens 1999; Lundberg+ 2020, arXiv:1905.04610"
    null_units: ClassVar[NullUnits] = "shared"

    def solve(self, kept: Tensor, values: Tensor) -> UnitAttributions:
        """The values of all coalitions, `[b, 2^u]`, to Shapley values and their split."""
        shapley = cooperative_games.shapley_values(values)
        index = cooperative_games.shapley_interactions(values)
        return UnitAttributions(shapley, None, _split(shapley, index))


@dataclass(frozen=True)
class ShapleyInteractions(CoalitionSampler):
    """The same from some coalitions: unbiased, and with a standard error of each Shapley value.

    Coalitions are drawn with their complements, sizes by the Shapley kernel; every one of them says
    something about every pair. `budget` bounds the model rows per sample, of which a coalition
    costs one per reference. Fumagalli+ 2023 (SHAP-IQ); its first order is unbiased KernelSHAP.
    """

    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "removal"
    paper: ClassVar[str] = "Fumagalli+ 2023, arXiv:2303.01179"
    version: ClassVar[int] = 3
    null_units: ClassVar[NullUnits] = "shared"
    # A drawn value goes to all units that are kept.
    breaks_axioms: ClassVar[tuple[str, ...]] = ("dummy", "symmetry")

    budget: int = 2048

    def least(self, n_units: int) -> int:
        """The two ends and two pairs per unit: means over fewer are off by more than their size."""
        return 4 * n_units + 2 if n_units > 1 else 2

    def n_coalitions(self, n_units: int, most: int) -> int:
        """All that are allowed, in pairs; the two ends of a single unit."""
        return most - most % 2 if n_units > 1 else 2

    def design(self, n_units: int, n_coalitions: int, *, rng: Rng) -> Tensor:
        """`kept [K, u]`: the ends, then pairs of complements."""
        if n_units == 1:
            return full_and_empty(n_units)
        # With replacement, however few units: what is drawn is weighed by its chance.
        halves = paired_sampling.draw_by_kernel_with_replacement(
            n_units, n_coalitions // 2 - 1, rng=rng
        )
        return torch.cat([full_and_empty(n_units), paired_sampling.with_complements(halves)])

    def solve(self, kept: Tensor, values: Tensor) -> UnitAttributions:
        """Equal shares of the whole change, corrected by means over the drawn coalitions."""
        n_units, change = kept.shape[1], values[:, :1] - values[:, 1:2]
        if n_units == 1:
            return UnitAttributions(
                change, torch.zeros_like(change), change[..., None], degrees_of_freedom=math.inf
            )
        member, size = kept[2:], kept[2:].sum(1)
        # Equal shares of the whole change have no part in any correction and no interactions.
        surplus = values[:, 2:] - values[:, 1:2] - change * size / n_units
        of_units, of_pairs = _weights(n_units)
        # What a coalition counts for a unit depends on its size, and on whether the unit is in it.
        weight = torch.where(member, of_units[size, 1:], of_units[size, :1])
        mean, errors = _mean_of_pairs(surplus, weight)
        index = _interactions(member, surplus, of_pairs[size])
        shapley = change / n_units + mean
        return UnitAttributions(
            shapley, errors, _split(shapley, index), degrees_of_freedom=len(member) // 2 - 1
        )


def _mean_of_pairs(surplus: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """`[b, 2 n], [2 n, u] -> [b, u]` twice: the mean of the products, and its error by pairs.

    A coalition and its complement are not independent, so pairs are the draws.
    """
    n_pairs = len(weight) // 2
    mean = row_matmul(surplus, weight) / (2 * n_pairs)
    crossed = row_matmul(surplus[:, ::2] * surplus[:, 1::2], weight[::2] * weight[1::2])
    squares = row_matmul(surplus.square(), weight.square()) + 2 * crossed
    # Rounding may take it below 0 where all draws agree.
    variance = (squares / (4 * n_pairs) - mean.square()).clamp(min=0) / max(n_pairs - 1, 1)
    return mean, variance.sqrt()


def _split(shapley: Tensor, index: Tensor) -> Tensor:
    """`[b, u], [b, u, u] -> [b, u, u]`: halves of the indices, and the rest on the diagonal."""
    # Both units of a pair show it, a half each, so that rows add up to the Shapley values.
    pairs = index / 2
    pairs.diagonal(dim1=1, dim2=2).zero_()
    return pairs + (shapley - pairs.sum(2)).diag_embed()


def _interactions(member: Tensor, surplus: Tensor, weight: Tensor) -> Tensor:
    """`[K, u], [b, K], [K, 3] -> [b, u, u]`: the mean of surplus times weight, which depends on how
    many of the two are in a coalition: `none + either * (zi + zj) + both * zi * zj`.
    """
    with_none, with_one, with_two = (surplus[..., None] * weight).unbind(2)
    z = member.double()
    either = row_matmul(with_one - with_none, z)
    curve = with_two - 2 * with_one + with_none
    parts = [curve[some] for some in in_chunks(len(curve), member.numel())]
    both = torch.cat([(z * c[..., None]).mT @ z.expand(len(c), -1, -1) for c in parts])
    total = with_none.sum(1)[:, None, None] + either[:, :, None] + either[:, None, :] + both
    return total / len(member)


def _weights(n_units: int) -> tuple[Tensor, Tensor]:
    """`[u + 1, 2]` and `[u + 1, 3]`: what a coalition of each size counts for a unit and a pair, by
    how many of them it holds, divided by its chance to be drawn.

    The weights of the discrete derivative in the Shapley interaction index, with the sign of a
    difference: negative where an odd number of them is missing.
    """
    # Of a size, not of a coalition: the binomial of the kernel cancels against their number.
    chance = [0.0, *(1 / (size * (n_units - size)) for size in range(1, n_units))]
    tables = [torch.zeros(n_units + 1, order + 1, dtype=torch.float64) for order in (1, 2)]
    for order, table in enumerate(tables, start=1):
        for size in range(1, n_units):
            drawn = chance[size] / sum(chance)
            for held in range(max(0, order + size - n_units), min(order, size) + 1):
                others = size - held
                orders = math.factorial(n_units - others - order) * math.factorial(others)
                # Whole numbers first: each alone is more than a float can hold.
                share = orders * math.comb(n_units, size) / math.factorial(n_units - order + 1)
                table[size, held] = (-1) ** (order - held) * share / drawn
    return tables[0], tables[1]
