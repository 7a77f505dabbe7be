"""The model's value at every coalition, and the exact Shapley values that follow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from xai_bench.core import coalitions, cooperative_games, units
from xai_bench.types import Baseline, Case, Unsupported


@dataclass(frozen=True)
class AllCoalitions:
    """`[B, 2^U]` float64: target outputs in the order of `cooperative_games.all_coalitions`.

    Costs `2^U * R` forward rows per sample. Raises `Unsupported` beyond `max_units`.
    """

    shared: ClassVar[bool] = True
    baseline: Baseline
    max_units: int = 12

    def measure(self, case: Case) -> Tensor:
        """`[B, 2^U]` float64."""
        inputs, rng = case.inputs, case.rng.child("exact_shapley")
        n_units = units.width(inputs.units)
        if n_units > self.max_units:
            raise Unsupported(
                f"exact values of {n_units} units take {2**n_units} coalitions; "
                f"the limit is max_units={self.max_units}"
            )
        # One table serves the exact Shapley values and the bounds over orders.
        kept = cooperative_games.all_coalitions(n_units).expand(len(inputs), -1, -1)
        return coalitions.values(case.model, inputs, case.targets, kept, self.baseline, rng=rng)


@dataclass(frozen=True, slots=True, eq=False)
class ShapleyValues:
    """Exact Shapley values of a case.

    Attributes:
        values: `[B, U]` float64, in units of the output.
        difference_from_reference: `[B, *S]`, x less its mean reference; None for an imputer.
    """

    values: Tensor
    difference_from_reference: Tensor | None


@dataclass(frozen=True)
class ExactShapley:
    """Shapley values of the game that removal to the baseline defines, from all its coalitions.

    Reads `AllCoalitions` and costs nothing beside it. Shapley 1953.
    """

    shared: ClassVar[bool] = True
    baseline: Baseline
    max_units: int = 12

    def measure(self, case: Case) -> ShapleyValues:
        """The values, and what a sensitivity has to be multiplied by to be compared with them."""
        inputs, rng = case.inputs, case.rng.child("exact_shapley")
        table = case.measure(AllCoalitions(self.baseline, self.max_units))
        difference_from_reference = coalitions.difference_from_reference(
            inputs, self.baseline, rng=rng
        )
        return ShapleyValues(_by_count(table, units.count(inputs.units)), difference_from_reference)


def _by_count(table: Tensor, n_units: Tensor) -> Tensor:
    """`[B, 2^U], [B] -> [B, U]`: Shapley values of each sample's own number of units.

    The first `2^u` coalitions are those of the first `u` units, so that a sample's bits do not
    depend on the longest sample of its batch.
    """
    width = (table.shape[1] - 1).bit_length()
    values = table.new_zeros(len(table), width)
    for size in n_units.unique().tolist():
        rows = (n_units == size).nonzero()[:, 0]
        values[rows, :size] = cooperative_games.shapley_values(table[rows, : 2**size])
    return values
