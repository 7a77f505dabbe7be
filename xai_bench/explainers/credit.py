"""From values of coalitions to credits of units, for samples with any number of units."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from xai_bench import coalitions, units
from xai_bench.types import Baseline, Inputs, Model, Rng, Unsupported


class Scheme(Protocol):
    """Which coalitions to ask for, and what to make of the answers.

    Every method sees `b` samples with the same number of units `u`, so there is no padding.
    """

    @property
    def baseline(self) -> Baseline: ...

    def n_draws(self, n_units: int) -> int:
        """How many rows of random numbers `plan` needs per sample."""
        ...

    def plan(self, n_units: int, draws: Tensor) -> Tensor:
        """`draws [b, n_draws, u + 1]` uniform `-> kept [b, K, u]`, or `[K, u]` for all."""
        ...

    def solve(self, kept: Tensor, values: Tensor) -> Tensor:
        """`kept [b, K, u], values [b, K] -> [b, u]`."""
        ...


def credit(scheme: Scheme, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Tensor:
    """`[B, *S]`: each unit's credit, spread over its elements; 0 in padding.

    Samples with as many units are solved together, so that nothing is asked for padding and what a
    sample's coalitions are depends on its own units only.
    """
    counts, width = units.count(inputs.units), units.width(inputs.units)
    groups = [(n, (counts == n).nonzero()[:, 0]) for n in counts.unique().tolist() if n > 0]
    n_draws = max((scheme.n_draws(n) for n, _ in groups), default=0)
    draws = rng.child("coalitions").uniform(n_draws, width + 1)
    credits = torch.zeros(len(inputs), width, dtype=torch.float64)
    for n, rows in groups:
        plan = scheme.plan(n, draws[rows, : scheme.n_draws(n), : n + 1])
        kept, part = plan.expand(len(rows), -1, -1), inputs.take(rows)
        values = coalitions.values(
            model, part, targets[rows], kept, scheme.baseline, rng=rng.take(rows)
        )
        credits[rows, :n] = scheme.solve(kept, values)
    return units.spread(credits, inputs.units).to(inputs.x.dtype)


def ends(n_samples: int, n_units: int) -> Tensor:
    """`[b, 2, u]` bool: the full coalition, then the empty one."""
    return torch.tensor([[True], [False]]).expand(n_samples, 2, n_units)


def require_budget(budget: int, least: int, n_units: int) -> None:
    """Raise `Unsupported` where the coalitions could not tell the units apart."""
    if budget < least:
        raise Unsupported(
            f"a budget of {budget} coalitions is too small for {n_units} units; "
            f"give at least {least}, or use coarser units"
        )


def least_squares(design: Tensor, response: Tensor, weight: Tensor, ridge: float = 0.0) -> Tensor:
    """Weighted ridge regression: `design [b, K, u], response [b, K], weight [b, K] -> [b, u]`.

    Directions that the design does not cover get coefficient 0 (the solution of smallest norm).
    """
    n_samples, n_rows, n_units = design.shape
    root = weight.sqrt()
    # A sample's bits are the same in every batch with this LAPACK driver only, and only where each
    # matrix starts on a cache line: hence rows of zeros up to a multiple of 8.
    height = n_rows + n_units + -(n_rows + n_units) % 8
    rows, right = (
        design.new_zeros(n_samples, height, n_units),
        design.new_zeros(n_samples, height, 1),
    )
    rows[:, :n_rows] = root[..., None] * design
    rows[:, n_rows : n_rows + n_units].diagonal(dim1=1, dim2=2).fill_(ridge**0.5)
    right[:, :n_rows, 0] = root * response
    solution: Tensor = torch.linalg.lstsq(rows, right, rcond=1e-10, driver="gelsd").solution
    return solution[..., 0]
