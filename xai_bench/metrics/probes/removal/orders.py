"""Exact bounds over the orders in which units can be removed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xai_bench.core import cooperative_games, units
from xai_bench.metrics.probes.removal.exact import AllCoalitions
from xai_bench.types import Baseline, Case


@dataclass(frozen=True, slots=True, eq=False)
class Bounds:
    """Bounds on the sum of the target outputs that are left after each removal but the last.

    Attributes:
        lowest: `[B]`, the sum of the best order by deletion.
        highest: `[B]`, the sum of the worst order.
    """

    lowest: Tensor
    highest: Tensor


@dataclass(frozen=True)
class OrderBounds:
    """Exact bounds over all `U!` orders, by dynamic programming over coalitions.

    The best order down to a coalition continues the best order down to one with a unit more. Reads
    `AllCoalitions` and costs nothing beside it.
    """

    shared: ClassVar[bool] = True
    baseline: Baseline
    max_units: int = 12

    def measure(self, case: Case) -> Bounds:
        """The sums of the best and of the worst order."""
        table = case.measure(AllCoalitions(self.baseline, self.max_units))
        n_units = units.count(case.inputs.units)
        lowest, highest = table.new_zeros(2, len(table))
        for size in n_units.unique().tolist():
            rows = (n_units == size).nonzero()[:, 0]
            own = table[rows, : 2**size]
            lowest[rows], highest[rows] = _lowest(own, size), -_lowest(-own, size)
        return Bounds(lowest, highest)


def _lowest(table: Tensor, n_units: int) -> Tensor:
    """`[B, 2^U] -> [B]`: the smallest sum over orders, from one unit removed to one unit left."""
    bit = 2 ** torch.arange(n_units)
    size = cooperative_games.all_coalitions(n_units).sum(1)
    best = torch.zeros_like(table)
    # Coalitions by falling size; `best` holds the smallest sum of outputs on the way to each.
    for kept in range(n_units - 1, 0, -1):
        coalition = (size == kept).nonzero()
        absent = (coalition & bit) == 0
        # Held and Karp's recursion: what comes later depends on the coalition, not on the way to
        # it.
        before = torch.where(absent, best[:, coalition | bit], torch.inf).amin(2)
        best[:, coalition[:, 0]] = table[:, coalition[:, 0]] + before
    return best[:, bit].amin(1)
